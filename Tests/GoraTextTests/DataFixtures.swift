import Glibc
import GoraText
import Testing

/// The folder of shared test material, or nil where it is absent: `GORA_SHARED`, else next to the project.
let shared: String? = {
  let root = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(separator: "/")
  let path = getenv("GORA_SHARED").map { String(cString: $0) } ?? root + "/../shared"
  return access(path + "/data/gsm8k/test.jsonl", R_OK) == 0 ? path : nil
}()

/// A tokenizer with one token a UTF-8 byte; the special tokens below have ids from 256 on.
struct ByteEncoder: TextEncoder {
  static let special = [
    "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
  ]
  static let bos: Int32 = 256
  static let eos: Int32 = 257

  func encode(_ text: String, addSpecialTokens: Bool) -> [Int32] { tokenized(text).ids }

  func tokenized(_ text: String) -> TokenizedText {
    var result = TokenizedText(ids: [], offsets: [])
    let text = Array(text.utf8)
    var at = 0
    while at < text.count {
      let index = Self.special.firstIndex { text[at...].starts(with: $0.utf8) }
      let next = at + (index.map { Self.special[$0].utf8.count } ?? 1)
      result.ids.append(index.map { 256 + Int32($0) } ?? Int32(text[at]))
      result.offsets.append(at..<next)
      at = next
    }
    return result
  }

  func isSpecial(_ id: Int32) -> Bool { id >= 256 }
  func addedToken(_ id: Int32) -> [UInt8]? { id < 256 ? nil : Array(Self.special[Int(id) - 256].utf8) }
  var beginTokens: [Int32] { [Self.bos] }
  var endTokens: [Int32] { [] }

  /// The text of ids, with the special tokens spelt out.
  static func text(_ ids: [Int32]) -> String {
    var bytes: [UInt8] = []
    for id in ids { bytes += id < 256 ? [UInt8(id)] : Array(special[Int(id) - 256].utf8) }
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// A whole text file; nil where it cannot be read.
func contents(_ path: String) -> String? {
  guard let file = fopen(path, "r") else { return nil }
  defer { fclose(file) }
  var bytes: [UInt8] = []
  while case let byte = getc(file), byte != EOF { bytes.append(UInt8(byte)) }
  return String(decoding: bytes, as: UTF8.self)
}

/// A new file in the system's temporary folder; the caller removes it.
func temporaryFile(_ bytes: [UInt8], suffix: String) throws -> String {
  let folder = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
  var name = Array("\(folder)/gora-data-XXXXXX\(suffix)".utf8CString)
  let file = mkstemps(&name, Int32(suffix.utf8.count))
  try #require(file >= 0)
  defer { close(file) }
  try #require(write(file, bytes, bytes.count) == bytes.count)
  return String(decoding: name.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
}
