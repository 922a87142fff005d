/// A known set of images: the names of its classes in the order of its labels, and the texts about them that CLIP is asked with. Names and texts
/// are those of Radford et al. 2021 as Ilharco et al. 2023 (task vectors) have them.
package struct ImageClassSet: Sendable {
  package let name: String
  package let classes: [String]
  /// With `{class}` where the name goes.
  package let templates: [String]

  /// - Parameters:
  ///   - classes: between semicolons, on any number of lines.
  ///   - templates: one a line.
  init(name: String, classes: String, templates: String) {
    self.name = name
    self.classes = classes.split(separator: ";").map { item in
      item.split { $0 == " " || $0 == "\n" }.joined(separator: " ")
    }
    self.templates = templates.split(separator: "\n").map(String.init)
  }

  package static let all = [stanfordCars, dtd, eurosat, gtsrb, resisc45, sun397, svhn]

  package init?(named name: String) {
    guard let known = Self.all.first(where: { $0.name == name }) else { return nil }
    self = known
  }

  /// Where no other text is asked for.
  package static let standardTemplates = ["a photo of a {class}."]
  /// Stands for the class in a template.
  package static let place = "{class}"
}
