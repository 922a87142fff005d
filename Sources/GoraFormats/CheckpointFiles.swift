import Glibc
import GoraCore

/// The files of a checkpoint, by the names that Hugging Face gives them: those of a folder, or those that a GGUF file's metadata stand
/// for.
package struct CheckpointFiles: Sendable {
  /// The folder or the GGUF file.
  package let path: String
  /// nil for a folder.
  package let gguf: GGUFFile?

  /// - Throws: `.noInput` where there is no such folder or file, `.data` where a GGUF file is malformed.
  package init(_ path: String) throws(GoraError) {
    self.path = path
    var status = stat()
    guard stat(path, &status) == 0 else {
      throw GoraError(
        .noInput, at: .file(path), errno == ENOENT ? "no such folder or file" : "cannot read: \(systemMessage(errno))",
        hint: "--model takes the folder of a downloaded HuggingFace checkpoint or a GGUF file; names of the hub are not looked up"
      )
    }
    switch status.st_mode & S_IFMT {
    case S_IFDIR: gguf = nil
    case S_IFREG where try Self.looksLikeGGUF(path): gguf = try GGUFFile(path: path)
    default:
      throw GoraError(
        .noInput, at: .file(path), "neither a folder nor a GGUF file",
        hint: "name the folder that holds config.json and the weights, or a GGUF file")
    }
  }

  /// By its first bytes, or, damaged as they may be, by its name.
  private static func looksLikeGGUF(_ path: String) throws(GoraError) -> Bool {
    if path.hasSuffix(".gguf") { return true }
    return try FileProbe.beginning(of: path, count: 4).bytes.elementsEqual("GGUF".utf8)
  }

  /// What messages call a file.
  package func place(_ name: String) -> String { gguf == nil ? "\(path)/\(name)" : "\(path) (\(name))" }

  package func exists(_ name: String) throws(GoraError) -> Bool {
    guard gguf != nil else { return access("\(path)/\(name)", F_OK) == 0 }
    return try text(name) != nil
  }

  /// The bytes of a file; nil where the checkpoint has none of that name.
  /// - Throws: `.noInput` where it cannot be read, `.data` where it is too large or a GGUF file's metadata are malformed.
  package func text(_ name: String, limit: Int = FileLimit.configuration) throws(GoraError) -> [UInt8]? {
    guard let gguf else {
      return access("\(path)/\(name)", F_OK) == 0 ? try readWholeFile("\(path)/\(name)", limit: limit) : nil
    }
    if name == ModelFolder.configName { return Array(try GGUFConfig(gguf).json().compact().utf8) }
    return try GGUFTokenizer.text(name, of: gguf)
  }

  /// A file as JSON; nil where the checkpoint has none of that name.
  package func document(_ name: String) throws(GoraError) -> JSONDocument? {
    guard let text = try text(name) else { return nil }
    return try JSONDocument(path: place(name), text: text, isMade: gguf != nil)
  }

  /// config.json.
  /// - Throws: `.noInput` where it is missing, `.data` where it is not JSON.
  package var config: JSONDocument {
    get throws(GoraError) {
      if let config = try document(ModelFolder.configName) { return config }
      throw GoraError(
        .noInput, at: .file(path), "no config.json in the folder",
        hint: try FileProbe.names(in: path).contains { $0.hasSuffix(".gguf") }
          ? "name the GGUF file itself" : "name the folder of a HuggingFace checkpoint")
    }
  }
}
