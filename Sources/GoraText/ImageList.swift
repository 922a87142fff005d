import GoraCore
import GoraFormats

/// Images with what says their classes, before any is opened.
package struct ImageList: Sendable {
  package enum Label: Sendable, Hashable, CustomStringConvertible {
    /// A class, or what its folder is called, blanks in place of `_`.
    case name(String)
    /// The place of a class among all.
    case number(Int)

    package var description: String {
      switch self {
      case .name(let name): "\"\(name)\""
      case .number(let number): "\(number)"
      }
    }
  }

  package struct Row: Sendable {
    package let path: String
    package let label: Label
    /// Where it stands, for messages.
    package let place: Location
  }

  package private(set) var rows: [Row] = []
  /// Files and folders that are no images of a class, by where they lie.
  package private(set) var others = 0

  /// - Parameter paths: folders with a folder for each class, or JSON Lines {"image", "label"} whose paths count from the file's folder.
  /// - Throws: `.noInput` where something cannot be read, `.data` for a bad row and where there is no image.
  package init(_ paths: [String]) throws(GoraError) {
    for path in paths {
      if try FileProbe(path) == .folder { try addFolder(path) } else { try addFile(path) }
    }
    if rows.isEmpty {
      throw GoraError(
        .data, at: .file(paths.joined(separator: ", ")), "no images",
        hint: "expected a folder with a folder of images for each class, or JSON Lines {\"image\", \"label\"}")
    }
  }

  /// Names in the order of their bytes, as torchvision's `ImageFolder` has them.
  private static func names(in folder: String) throws(GoraError) -> [String] {
    try FileProbe.names(in: folder).sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  private mutating func addFolder(_ path: String) throws(GoraError) {
    for name in try Self.names(in: path) {
      let folder = "\(path)/\(name)"
      guard try FileProbe(folder) == .folder else {
        others += 1
        continue
      }
      let label = Label.name(String(name.map { $0 == "_" ? " " : $0 }))
      for file in try Self.names(in: folder) {
        let image = "\(folder)/\(file)"
        guard try FileProbe(image) == .regular else {
          others += 1
          continue
        }
        rows.append(Row(path: image, label: label, place: .file(image)))
      }
    }
  }

  private mutating func addFile(_ path: String) throws(GoraError) {
    let folder = path.utf8.lastIndex(of: UInt8(ascii: "/")).map { String(path[..<$0]) + "/" } ?? ""
    let input = try InputText(path, limit: InputText.standardLimit)
    var scanner = RowScanner(path: path) { () throws(GoraError) in try input.next() }
    while let span = try scanner.next() {
      let root = try JSONDocument(path: path, text: span.text, as: .python, firstLine: span.line).root
      let image = try root.required("image").string
      let field = try root.required("label")
      let label: Label
      if case .integer(let number) = field.value.content {
        label = .number(number)
      } else {
        label = .name(try field.string)
      }
      rows.append(
        Row(
          path: image.hasPrefix("/") ? image : folder + image, label: label,
          place: .text(path, line: span.line, column: span.column)))
    }
  }
}
