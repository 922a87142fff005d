import Glibc
import GoraCore

/// How a file came about: one record a stage, oldest first, as samtools chains its `@PG` lines.
///
/// No clock and no name of the machine: equal runs give equal bytes.
package struct Provenance: Sendable, Equatable {
  /// Objects `{tool, version, argv, inputs: [{path, bytes, sha256}], seed, threads, dtype, libraries, previous}`.
  package var records: [JSON]

  package init(records: [JSON] = []) { self.records = records }

  /// Reads the array `provenance` of a stage's file.
  /// - Throws: `.data` where it is not an array of objects.
  package init(reading field: JSONField) throws(GoraError) {
    records = []
    for element in try field.elements {
      _ = try element.members
      records.append(element.value)
    }
  }

  /// Reads the text that HDF5 attributes and safetensors metadata hold.
  /// - Parameter path: the file that it stands in, for messages.
  package init(text: String, path: String) throws(GoraError) {
    try self.init(reading: JSONDocument(path: "\(path) (provenance)", text: Array(text.utf8)).root)
  }

  package var json: JSON { JSON(records) }

  /// One line, for HDF5 attributes and safetensors metadata.
  package var text: String { json.compact() }

  /// The chain with the record of this run at its end.
  ///
  /// - Parameters:
  ///   - arguments: the command line after the tool's name.
  ///   - inputs: paths as given. A folder stands for its `config.json` (or `adapter_config.json`); standard input and pipes
  ///     have a path alone; files above 256 MiB have their size but no digest, which would cost more than the run.
  ///   - threads: nil for stages whose result does not depend on it.
  /// - Throws: `.noInput` for an input that cannot be read.
  package func appending(
    tool: String, version: String, arguments: [String], inputs: [String], seed: UInt64? = nil, threads: Int? = nil,
    dtype: String? = nil, libraries: [(name: String, version: String)] = []
  ) throws(GoraError) -> Provenance {
    var members = [
      JSON.Member("tool", JSON(tool)), JSON.Member("version", JSON(version)),
      JSON.Member("argv", JSON(arguments.map { JSON($0) })),
    ]
    var described: [JSON] = []
    for input in inputs { described.append(try Self.describe(input)) }
    members.append(JSON.Member("inputs", JSON(described)))
    // JSON integers are signed here; a seed above 2^63 is kept as text rather than lost.
    if let seed { members.append(JSON.Member("seed", Int(exactly: seed).map { JSON($0) } ?? JSON(String(seed)))) }
    if let threads { members.append(JSON.Member("threads", JSON(threads))) }
    if let dtype { members.append(JSON.Member("dtype", JSON(dtype))) }
    let sorted = libraries.sorted { $0.name < $1.name }
    members.append(JSON.Member("libraries", JSON(.object(sorted.map { JSON.Member($0.name, JSON($0.version)) }))))
    members.append(JSON.Member("previous", records.isEmpty ? nil : JSON(records.count - 1)))
    return Provenance(records: records + [JSON(.object(members))])
  }

  /// The same with one more member at the end of its last record.
  package func adding(_ key: String, _ value: JSON) -> Provenance {
    guard case .object(let members)? = records.last?.content else { return self }
    return Provenance(records: records.dropLast() + [JSON(.object(members + [JSON.Member(key, value)]))])
  }

  private static let digestLimit = 256 << 20

  private static func describe(_ input: String) throws(GoraError) -> JSON {
    if input == "-" { return .object(["path": "-"]) }
    var path = input
    var status = stat()
    guard stat(path, &status) == 0 else { throw .unreadable(path, errno) }
    if status.st_mode & S_IFMT == S_IFDIR {
      let names = ["config.json", "adapter_config.json"]
      guard let name = names.first(where: { access("\(input)/\($0)", F_OK) == 0 }) else { return .object(["path": JSON(input)]) }
      path = input.hasSuffix("/") ? input + name : "\(input)/\(name)"
      guard stat(path, &status) == 0 else { throw .unreadable(path, errno) }
    }
    guard status.st_mode & S_IFMT == S_IFREG else { return .object(["path": JSON(path)]) }
    let bytes = Int(status.st_size)
    if bytes > digestLimit { return .object(["path": JSON(path), "bytes": JSON(bytes)]) }
    return .object(["path": JSON(path), "bytes": JSON(bytes), "sha256": JSON(try SHA256.hex(file: path))])
  }
}
