extension ImageClassSet {
  /// RESISC45 (Cheng et al. 2017), in the order of its labels.
  static let resisc45 = ImageClassSet(
    name: "resisc45",
    classes: """
      airplane; airport; baseball diamond; basketball court; beach; bridge; chaparral; church; circular farmland; cloud;
      commercial area; dense residential; desert; forest; freeway; golf course; ground track field; harbor; industrial area;
      intersection; island; lake; meadow; medium residential; mobile home park; mountain; overpass; palace; parking lot;
      railway; railway station; rectangular farmland; river; roundabout; runway; sea ice; ship; snowberg;
      sparse residential; stadium; storage tank; tennis court; terrace; thermal power station; wetland
      """,
    templates: """
      satellite imagery of {class}.
      aerial imagery of {class}.
      satellite photo of {class}.
      aerial photo of {class}.
      satellite view of {class}.
      aerial view of {class}.
      satellite imagery of a {class}.
      aerial imagery of a {class}.
      satellite photo of a {class}.
      aerial photo of a {class}.
      satellite view of a {class}.
      aerial view of a {class}.
      satellite imagery of the {class}.
      aerial imagery of the {class}.
      satellite photo of the {class}.
      aerial photo of the {class}.
      satellite view of the {class}.
      aerial view of the {class}.
      """)
}
