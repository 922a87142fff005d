import GoraCore

/// What the files between the stages share: `format` and `format_version` first, modules with a name and a shape.
enum FormatHeader {
  /// Checks the two leading keys.
  /// - Throws: `.data` with line and column, showing both sides.
  static func check(_ field: JSONField, format: String, version: Int, madeBy tool: String) throws(GoraError) {
    let found = try field.required("format")
    guard try found.string == format else {
      throw found.error("format is \"\(try found.string)\"; expected \"\(format)\"", hint: "\(tool) writes such files")
    }
    let number = try field.required("format_version")
    guard try number.int == version else {
      throw number.error(
        "format_version is \(try number.int); this gora reads \(version)", hint: "make the file again with this version's \(tool)"
      )
    }
  }

  /// A module's name, which must not be empty nor occur twice.
  static func name(_ field: JSONField, seen: inout Set<String>) throws(GoraError) -> String {
    let name = try field.required("name")
    let text = try name.string
    if text.isEmpty { throw name.error("the name of a module is empty") }
    guard seen.insert(text).inserted else { throw name.error("module \"\(text)\" occurs twice") }
    return text
  }

  /// A module's shape [out, in]; sides up to 2^20, so that sums of parameters cannot overflow.
  static func shape(_ field: JSONField) throws(GoraError) -> [Int] {
    let shape = try field.required("shape")
    let sizes = try shape.ints
    guard sizes.count == 2, sizes.allSatisfy({ 1...(1 << 20) ~= $0 }) else {
      throw shape.error("shape is \(shape.value.compact()); expected [out, in], each from 1 to \(1 << 20)")
    }
    return sizes
  }

  /// The identity of the model (`ModelFolder.identity`), if the file says it.
  static func model(_ field: JSONField) throws(GoraError) -> String? { try field.optional("model")?.string }

  /// The provenance, empty where the file has none.
  static func provenance(_ field: JSONField) throws(GoraError) -> Provenance {
    guard let records = try field.optional("provenance") else { return Provenance() }
    return try Provenance(reading: records)
  }
}
