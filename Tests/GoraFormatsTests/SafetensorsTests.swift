import Foundation
import GoraCore
import Testing

@testable import GoraFormats

/// A safetensors file of a header text and a number of data bytes.
private func crafted(_ header: String, data: Int = 0, length: UInt64? = nil) -> [UInt8] {
  let text = Array(header.utf8)
  return withUnsafeBytes(of: (length ?? UInt64(text.count)).littleEndian) { Array($0) } + text
    + (0..<data).map { UInt8(truncatingIfNeeded: $0) }
}

private func entry(_ dtype: String = "F32", _ shape: String = "[2]", _ offsets: String = "[0,8]") -> String {
  #"{"dtype":"\#(dtype)","shape":\#(shape),"data_offsets":\#(offsets)}"#
}

struct Refusal: Sendable, CustomTestStringConvertible {
  var bytes: [UInt8]
  /// Byte that the message must name.
  var offset: Int
  /// Words that the message must have.
  var words: String
  /// Tensor that the message must name.
  var tensor: String?
  var testDescription: String { words }
}

private let refusals: [Refusal] = [
  Refusal(bytes: [], offset: 0, words: "the file has 0 bytes"),
  Refusal(bytes: [2, 0, 0, 0, 0, 0, 0], offset: 0, words: "the file has 7 bytes"),
  Refusal(bytes: crafted("{}", length: 100_000_001), offset: 0, words: "header of 100000001 bytes; the limit"),
  Refusal(bytes: crafted("{}", length: .max), offset: 0, words: "header of 18446744073709551615 bytes; the limit"),
  Refusal(bytes: crafted("{}", length: 3), offset: 0, words: "header of 3 bytes in a file of 10"),
  Refusal(bytes: [4, 0, 0, 0, 0, 0, 0, 0, 0x7B, 0xC3, 0x28, 0x7D], offset: 8, words: "not UTF-8"),
  Refusal(bytes: crafted(""), offset: 8, words: "unexpected end"),
  Refusal(bytes: crafted("[]"), offset: 8, words: "the header is not an object"),
  Refusal(bytes: crafted(#"{"a":\#(entry("F4", "[3]", "[0,1]"))}"#, data: 1), offset: 13, words: "within a byte", tensor: "a"),
  Refusal(bytes: crafted(#"{"a":}"#), offset: 13, words: "expected a value"),
  Refusal(bytes: crafted(#"{"a":\#(entry()),"a":\#(entry())}"#, data: 8), offset: 62, words: "duplicate key"),
  Refusal(bytes: crafted(String(repeating: #"{"a":"#, count: 300)), offset: 53, words: "deep"),
  Refusal(bytes: crafted(#"{"__metadata__":[]}"#), offset: 24, words: "__metadata__ is not an object"),
  Refusal(bytes: crafted(#"{"__metadata__":{"format":1}}"#), offset: 34, words: "the value of \"format\" is not a string"),
  Refusal(bytes: crafted(#"{"a":3}"#), offset: 13, words: "not an object", tensor: "a"),
  Refusal(bytes: crafted(#"{"a":{"dtype":"F32","shape":[2]}}"#), offset: 13, words: "lacks \"data_offsets\"", tensor: "a"),
  Refusal(bytes: crafted(#"{"a":\#(entry("F33"))}"#, data: 8), offset: 22, words: "unknown dtype \"F33\"", tensor: "a"),
  Refusal(bytes: crafted(#"{"a":\#(entry("F32", "[-2]"))}"#, data: 8), offset: 37, words: "holds -2", tensor: "a"),
  Refusal(bytes: crafted(#"{"a":\#(entry("F32", "[2.0]"))}"#, data: 8), offset: 37, words: "holds 2.0", tensor: "a"),
  Refusal(bytes: crafted(#"{"a":\#(entry("F32", "[1e99]"))}"#, data: 8), offset: 37, words: "holds 1e+99", tensor: "a"),
  Refusal(bytes: crafted(#"{"a":\#(entry("F32", "2"))}"#, data: 8), offset: 36, words: "not an array", tensor: "a"),
  Refusal(
    bytes: crafted(#"{"a":\#(entry("F32", "[4294967296,4294967296]"))}"#, data: 8), offset: 13, words: "overflows", tensor: "a"),
  Refusal(
    bytes: crafted(#"{"a":\#(entry("F64", "[1152921504606846976]"))}"#, data: 8), offset: 13, words: "overflows", tensor: "a"),
  Refusal(
    bytes: crafted(#"{"a":\#(entry("F32", "[2]", "[8,0]"))}"#, data: 8), offset: 13, words: "before the start", tensor: "a"),
  Refusal(
    bytes: crafted(#"{"a":\#(entry("F32", "[2]", "[0,8,16]"))}"#, data: 8), offset: 13, words: "has 3 numbers", tensor: "a"),
  Refusal(bytes: crafted(#"{"a":\#(entry("F32", "[2]", "[-8,0]"))}"#, data: 8), offset: 56, words: "holds -8", tensor: "a"),
  Refusal(
    bytes: crafted(#"{"a":\#(entry("F32", "[3]"))}"#, data: 8), offset: 13, words: "data of 8 bytes; F32 of shape [3] takes 12",
    tensor: "a"),
  Refusal(
    bytes: crafted(#"{"a":\#(entry("F32", "[2]", "[8,16]"))}"#, data: 8), offset: 13, words: "ends at 16; the file has 8",
    tensor: "a"),
  Refusal(
    bytes: crafted(#"{"a":\#(entry()),"b":\#(entry("F32", "[2]", "[4,12]"))}"#, data: 12), offset: 66, words: "overlap",
    tensor: "b"),
  Refusal(
    bytes: crafted(#"{"a":\#(entry()),"b":\#(entry("F32", "[2]", "[12,20]"))}"#, data: 20), offset: 66, words: "hole", tensor: "b"
  ),
  Refusal(bytes: crafted(#"{"a":\#(entry("F32", "[2]", "[4,12]"))}"#, data: 12), offset: 13, words: "hole", tensor: "a"),
  Refusal(bytes: crafted(#"{"a":\#(entry())}"#, data: 9), offset: 70, words: "end at 8; the file has 9 bytes of data"),
  Refusal(bytes: crafted("{}", data: 1), offset: 10, words: "end at 0; the file has 1 bytes of data"),
]

@Suite struct SafetensorsTests {
  @Test(arguments: refusals) func refuses(_ refusal: Refusal) throws {
    let scratch = ScratchFolder()
    let path = try scratch.file("bad.safetensors", refusal.bytes)
    let error = errorThrown { try SafetensorsFile(path: path) }
    #expect(error.status == .data)
    #expect(error.problem.contains(refusal.words), "\(error)")
    guard case .bytes(path, let offset, let part) = error.location else {
      Issue.record("no byte offset in \(error)")
      return
    }
    #expect(offset == refusal.offset, "\(error)")
    if let tensor = refusal.tensor { #expect(part.contains("tensor \"\(tensor)\""), "\(error)") }
  }

  @Test func readsEmptyAndScalarAndUnalignedTensors() throws {
    let scratch = ScratchFolder()
    let header =
      #"{"byte":\#(entry("U8", "[1]", "[0,1]")),"scalar":\#(entry("F32", "[]", "[1,5]")),"#
      + #""none":\#(entry("F16", "[0,7]", "[5,5]"))} "#
    var bytes = crafted(header)
    bytes += [9] + withUnsafeBytes(of: Float(-1.5)) { Array($0) }
    let file = try SafetensorsFile(path: scratch.file("a.safetensors", bytes))
    let scalar = try #require(file.tensor("scalar"))
    #expect(scalar.shape == [] && scalar.count == 1)
    #expect(try scalar.toFloat() == [-1.5])
    #expect(!scalar.isAligned || header.utf8.count % 4 != 0)
    let none = try #require(file.tensor("none"))
    #expect(try none.shape == [0, 7] && none.toFloat().isEmpty)
    #expect(file.tensors.map(\.name) == ["byte", "scalar", "none"])
    #expect(file.tensor("other") == nil)
  }

  /// What safetensors' own reader takes: blanks, no metadata, types that are not computed with.
  @Test func readsWhatIsNotUsed() throws {
    let scratch = ScratchFolder()
    let types = [
      ("F8_E4M3", 3, 3), ("F8_E5M2", 3, 3), ("F8_E8M0", 1, 1), ("F8_E4M3FNUZ", 1, 1), ("F8_E5M2FNUZ", 1, 1), ("U16", 2, 4),
      ("U32", 1, 4), ("U64", 1, 8), ("C64", 1, 8), ("F6_E2M3", 4, 3), ("F6_E3M2", 8, 6), ("F4", 6, 3), ("I64", 1, 8),
      ("BOOL", 2, 2),
    ]
    var (header, offset) = (" \n\t{\"__metadata__\": null", 0)
    for (type, count, bytes) in types {
      header += ",\"\(type)\":\(entry(type, "[\(count)]", "[\(offset),\(offset + bytes)]"))"
      offset += bytes
    }
    let file = try SafetensorsFile(path: scratch.file("a.safetensors", crafted(header + "}", data: offset)))
    #expect(file.metadata.isEmpty && file.tensors.count == types.count)
    for (type, count, bytes) in types {
      let tensor = try #require(file.tensor(type))
      #expect(tensor.count == count && tensor.bytes.count == bytes)
      let error = errorThrown { try tensor.toFloat() }
      #expect(error.status == .data && error.problem.contains(type))
    }
  }

  @Test func namesGitLFSPointers() throws {
    let scratch = ScratchFolder()
    let text = "version https://git-lfs.github.com/spec/v1\noid sha256:4f\nsize 2471645608\n"
    let path = try scratch.file("model.safetensors", Array(text.utf8))
    for error in [
      errorThrown { try SafetensorsFile(path: path) }, errorThrown { try JSONDocument(path: path, text: Array(text.utf8)) },
    ] { #expect(error.status == .data && error.problem.contains("git-lfs") && error.hint?.contains("git lfs pull") == true) }
  }

  /// Values whose bit patterns are known from the definitions of the formats.
  @Test(
    arguments: [
      (DType.f16, [0x00, 0x3C, 0x01, 0x00, 0xFF, 0xFB], [1, 0x1p-24, -65504]),
      (.bf16, [0x80, 0x3F, 0x49, 0x40, 0x80, 0xFF], [1, 3.140625, -.infinity]),
      (.f64, [0, 0, 0, 0, 0, 0, 0xF8, 0xBF], [-1.5]),
      (.f32, [0, 0, 0x20, 0x40], [2.5]),
    ] as [(DType, [UInt8], [Float])], [0, 1])
  func widens(_ item: (DType, [UInt8], [Float]), shift: Int) throws {
    let (dtype, data, values) = item
    let scratch = ScratchFolder()
    var header =
      #"{"pad":\#(entry("U8", "[\(shift)]", "[0,\(shift)]")),"#
      + #""x":\#(entry(dtype.rawValue, "[\(values.count)]", "[\(shift),\(shift + data.count)]"))}"#
    while header.utf8.count % 8 != 0 { header += " " }
    let file = try SafetensorsFile(
      path: scratch.file("a.safetensors", crafted(header) + [UInt8](repeating: 7, count: shift) + data))
    let tensor = try #require(file.tensor("x"))
    #expect(tensor.isAligned == (shift == 0))
    #expect(try tensor.toFloat() == values)
  }

  @Test func writesSortedPaddedAndDeterministic() throws {
    let scratch = ScratchFolder()
    let halves: [UInt16] = [1, 2, 3]
    let floats: [Float] = [1, -2]
    func write(_ name: String, reversed: Bool) throws -> [UInt8] {
      try halves.withUnsafeBytes { h in
        try floats.withUnsafeBytes { f in
          let tensors = [
            SafetensorsWriter.Tensor(name: "a", dtype: .bf16, shape: [3], bytes: h),
            SafetensorsWriter.Tensor(name: "z", dtype: .f32, shape: [1, 2], bytes: f),
            SafetensorsWriter.Tensor(name: "b", dtype: .f32, shape: [2], bytes: f),
          ]
          let metadata = [("format", "pt"), ("a", "é\"\n")]
          try SafetensorsWriter.write(
            path: "\(scratch.path)/\(name)", tensors: reversed ? tensors.reversed() : tensors,
            metadata: reversed ? metadata.reversed() : metadata)
        }
      }
      return try scratch.bytes(name)
    }
    let bytes = try write("a.safetensors", reversed: false)
    #expect(try write("b.safetensors", reversed: true) == bytes)
    #expect(bytes[0] % 8 == 0)
    let file = try SafetensorsFile(path: "\(scratch.path)/a.safetensors")
    #expect(file.tensors.map(\.name) == ["b", "z", "a"])
    #expect(!file.tensors.contains { !$0.isAligned })
    #expect(file.metadata.map(\.key) == ["a", "format"] && file.metadata.map(\.value) == ["é\"\n", "pt"])
    #expect(file.tensor("a").map { [UInt8]($0.bytes) } == [1, 0, 2, 0, 3, 0])
    #expect(try file.tensor("z")?.toFloat() == [1, -2] && file.tensor("z")?.shape == [1, 2])
    #expect(scratch.names == ["a.safetensors", "b.safetensors"])
  }

  /// Files of the safetensors library itself.
  @Test func readsWhatPythonWrote() throws {
    let file = try SafetensorsFile(path: "\(fixturesFolder)/llama/adapter/adapter_model.safetensors")
    #expect(file.metadata.map(\.key) == ["format"] && file.metadata.map(\.value) == ["pt"])
    #expect(file.tensor("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight")?.shape.first == 8)
  }

  @Test func mutationsNeverCrash() throws {
    let scratch = ScratchFolder()
    try (0..<24).map { UInt8($0) }.withUnsafeBytes { data in
      try SafetensorsWriter.write(
        path: "\(scratch.path)/valid",
        tensors: [
          SafetensorsWriter.Tensor(name: "a", dtype: .f32, shape: [2, 3], bytes: data),
          SafetensorsWriter.Tensor(name: "b", dtype: .bf16, shape: [12], bytes: data),
          SafetensorsWriter.Tensor(name: "c", dtype: .f64, shape: [3, 1], bytes: data),
        ], metadata: [("format", "pt")])
    }
    let valid = try scratch.bytes("valid")
    var numbers = TestNumbers(state: 1)
    var refused = 0
    for _ in 0..<1000 {
      var bytes = valid
      if Bool.random(using: &numbers) { bytes.removeLast(Int.random(in: 1...bytes.count, using: &numbers)) }
      // Most flips into the header, where they matter.
      for _ in 0..<Int.random(in: 0...3, using: &numbers) where !bytes.isEmpty {
        let at = Int.random(in: 0..<min(bytes.count, 300), using: &numbers)
        bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &numbers)
      }
      let path = try scratch.file("m.safetensors", bytes)
      do throws(GoraError) {
        let file = try SafetensorsFile(path: path)
        for tensor in file.tensors { #expect(try tensor.toFloat().count == tensor.shape.reduce(1, *)) }
      } catch {
        refused += 1
        #expect(error.status == .data)
      }
    }
    #expect(refused > 500)
  }
}
