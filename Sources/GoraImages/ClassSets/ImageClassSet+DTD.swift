extension ImageClassSet {
  /// Describable Textures (Cimpoi et al. 2014), in the order of its labels.
  static let dtd = ImageClassSet(
    name: "dtd",
    classes: """
      banded; blotchy; braided; bubbly; bumpy; chequered; cobwebbed; cracked; crosshatched; crystalline; dotted; fibrous;
      flecked; freckled; frilly; gauzy; grid; grooved; honeycombed; interlaced; knitted; lacelike; lined; marbled; matted;
      meshed; paisley; perforated; pitted; pleated; polka-dotted; porous; potholed; scaly; smeared; spiralled; sprinkled;
      stained; stratified; striped; studded; swirly; veined; waffled; woven; wrinkled; zigzagged
      """,
    templates: """
      a photo of a {class} texture.
      a photo of a {class} pattern.
      a photo of a {class} thing.
      a photo of a {class} object.
      a photo of the {class} texture.
      a photo of the {class} pattern.
      a photo of the {class} thing.
      a photo of the {class} object.
      """)
}
