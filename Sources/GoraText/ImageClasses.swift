import GoraCore
import GoraFormats

/// The classes of images by name, and which of them each label means.
package struct ImageClasses: Sendable, Equatable {
  package let names: [String]
  private let places: [ImageList.Label: Int]
  /// How labels became classes, for people.
  package let explanation: String

  /// - Parameters:
  ///   - list: all images; its labels are the classes where none are given.
  ///   - given: all classes in their order. Labels that are all among them mean those; otherwise the labels in the order of their bytes mean
  ///     the classes in theirs, where there are as many, as torchvision's `ImageFolder` numbers folders.
  /// - Throws: `.data` for a label that means none of them.
  package init(of list: ImageList, given: [String]?) throws(GoraError) {
    var labels = Set<String>()
    for row in list.rows {
      switch row.label {
      case .name(let name): labels.insert(name)
      case .number(let number):
        guard let given else {
          throw GoraError(
            .data, at: row.place, "label \(number) is a number, and nothing says the classes' names", hint: "give --classes")
        }
        guard given.indices.contains(number) else {
          throw GoraError(.data, at: row.place, "label \(number) is out of range; there are \(given.count) classes, from 0")
        }
      }
    }
    let sorted = labels.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    let names = given ?? sorted
    var places: [ImageList.Label: Int] = [:]
    for (place, name) in names.enumerated() {
      places[.number(place)] = place
      places[.name(name)] = place
    }
    explanation = given == nil ? "by the names of the labels" : "of --classes"
    if let row = list.rows.first(where: { places[$0.label] == nil }) {
      guard sorted.count == names.count else {
        throw GoraError(
          .data, at: row.place, "label \(row.label) is none of the \(names.count) classes",
          hint: "name labels as the classes are named, or have one for each, in the same order (there are \(sorted.count))")
      }
      for (place, label) in sorted.enumerated() { places[.name(label)] = place }
    }
    self.names = names
    self.places = places
    guard names.count > 1 else {
      throw GoraError(.data, at: list.rows[0].place, "all images are of one class; expected two classes or more")
    }
  }

  /// The place of a label's class.
  /// - Throws: `.data` where it is none of the classes.
  package func place(of row: ImageList.Row) throws(GoraError) -> Int {
    guard let place = places[row.label] else {
      throw GoraError(.data, at: row.place, "label \(row.label) is none of the \(names.count) classes")
    }
    return place
  }
}
