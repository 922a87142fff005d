extension ImageClassSet {
  /// Street View House Numbers (Netzer et al. 2011), in the order of its labels.
  static let svhn = ImageClassSet(
    name: "svhn",
    classes: """
      0; 1; 2; 3; 4; 5; 6; 7; 8; 9
      """,
    templates: """
      a photo of the number: "{class}".
      """)
}
