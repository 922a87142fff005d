import Glibc
import GoraCore

/// A model in the GGUF format, in one file or in those that llama.cpp's gguf-split made of it (`…-00001-of-0000N.gguf`), mapped.
package final class GGUFFile: Sendable {
  /// Of the first file.
  package let path: String
  private let fields: [GGUFField]
  private let fieldIndex: [String: Int]
  /// Of all files, in their order; names are unique.
  package let tensors: [TensorView]
  private let tensorIndex: [String: Int]

  /// - Parameter path: the file, or the first of a split model; the others are looked for beside it.
  /// - Throws: `.noInput` where a file cannot be read, `.data` with byte and part where one is malformed or belongs to another model.
  package init(path: String) throws(GoraError) {
    let first = try GGUFPart(path: path)
    self.path = path
    let fieldIndex = Dictionary(uniqueKeysWithValues: first.fields.enumerated().map { ($1.key, $0) })
    fields = first.fields
    self.fieldIndex = fieldIndex
    func field(_ key: String) -> GGUFField? { fieldIndex[key].map { first.fields[$0] } }
    var tensors = first.tensors
    if let count = field("split.count"), try count.int(in: 0...99_999) > 1 {
      for other in try Self.others(than: path, number: field("split.no"), count: count) {
        let part = try GGUFPart(path: other.path)
        if let number = part.fields.first(where: { $0.key == "split.no" }), try number.int != other.number {
          throw number.error("is \(try number.int) in file number \(other.number + 1) of the model")
        }
        tensors += part.tensors
      }
    }
    if let count = field("split.tensors.count"), try count.int != tensors.count {
      throw count.error("is \(try count.int); the model's files have \(tensors.count) tensors")
    }
    var index: [String: Int] = [:]
    for (i, tensor) in tensors.enumerated() where index.updateValue(i, forKey: tensor.name) != nil {
      throw GoraError(.data, at: tensor.location, "stands in two of the model's files")
    }
    self.tensors = tensors
    tensorIndex = index
  }

  /// The files of a split model after the first.
  private static func others(
    than path: String, number: GGUFField?, count field: GGUFField
  ) throws(GoraError) -> [(path: String, number: Int)] {
    let count = try field.int
    let ending = "-00001-of-\(fiveDigits(count)).gguf"
    if let number, try number.int != 0 {
      throw number.error(
        "is \(try number.int): this is not the first file of the model", hint: "name the file whose name ends in \"\(ending)\"")
    }
    guard path.hasSuffix(ending) else {
      throw field.error(
        "is \(count), but the file's name does not end in \"\(ending)\"", hint: "the others are found by that pattern")
    }
    return others(than: path).enumerated().map { ($1, $0 + 1) }
  }

  private static func fiveDigits(_ number: Int) -> String {
    let text = String(number)
    return String(repeating: "0", count: max(0, 5 - text.count)) + text
  }

  /// The paths that the files of a split model after the first have by the pattern of their names; none for another name.
  static func others(than path: String) -> [String] {
    let parts = path.split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count > 3, parts[parts.count - 3] == "00001", parts[parts.count - 2] == "of", path.hasSuffix(".gguf"),
      let count = Int(parts[parts.count - 1].dropLast(5)), (2...99_999).contains(count)
    else { return [] }
    let stem = path.dropLast("00001-of-00000.gguf".count)
    return (2...count).map { "\(stem)\(fiveDigits($0))-of-\(fiveDigits(count)).gguf" }
  }

  /// The keys of the metadata, in the order of the file.
  package var keys: [String] { fields.map(\.key) }

  package func metadata(_ key: String) -> GGUFField? { fieldIndex[key].map { fields[$0] } }

  /// - Throws: `.data` where the key is not there.
  package func required(_ key: String) throws(GoraError) -> GGUFField {
    guard let field = metadata(key) else { throw GoraError(.data, at: .file(path), "lacks the key \"\(key)\"") }
    return field
  }

  package func tensor(_ name: String) -> TensorView? { tensorIndex[name].map { tensors[$0] } }

  /// Whether one of these modules has a bias in any block.
  func hasBias(of modules: [(gguf: String, huggingFace: String)]) -> Bool {
    tensors.contains { tensor in modules.contains { tensor.name.hasSuffix(".\($0.gguf).bias") } }
  }
}
