extension ImageClassSet {
  /// EuroSAT (Helber et al. 2019), in the order of its labels.
  static let eurosat = ImageClassSet(
    name: "eurosat",
    classes: """
      annual crop land; forest; brushland or shrubland; highway or road; industrial buildings or commercial buildings;
      pasture land; permanent crop land; residential buildings or homes or apartments; river; lake or sea
      """,
    templates: """
      a centered satellite photo of {class}.
      a centered satellite photo of a {class}.
      a centered satellite photo of the {class}.
      """)
}
