import GoraCore
import GoraModels
import Testing

@testable import GoraFormats

/// Adapters for llama.cpp: what its loader (`llama-adapter.cpp`) asks of the file.
struct AdapterGGUFTests {
  /// Two heads of 4 queries, one of keys, and a module that does not turn; ranks of their own.
  private static func sample() -> Adapter {
    var numbers = TestNumbers(state: 11)
    func values(_ count: Int) -> [Float] { (0..<count).map { _ in Float.random(in: -1...1, using: &numbers) } }
    let modules = [("self_attn.q_proj", 8, 3), ("self_attn.k_proj", 4, 1), ("mlp.down_proj", 6, 2)].map { name, rows, rank in
      AdapterModule(
        name: "model.layers.1.\(name)", rank: rank, alpha: 16, scaling: 16 / Double(rank).squareRoot(), shape: [rows, 6],
        a: values(rank * 6), b: values(rows * rank))
    }
    return Adapter(modules: modules, useRSLoRA: true, model: "identity")
  }

  private static func written(_ dtype: DType, _ architecture: GGUFArchitecture, _ scratch: ScratchFolder) throws -> GGUFFile {
    let path = "\(scratch.path)/adapter.gguf"
    let file = try AtomicFile(path: path)
    try sample().writeGGUF(to: file, dtype: dtype, architecture: architecture, headSize: 4, tensors: nil, provenance: nil)
    try file.commit()
    return try GGUFFile(path: path)
  }

  /// A as it is and s·B, whose rows for q and k are `reshape(heads, 2, size/2).swapaxes(1, 2)` as llama.cpp's converter has them.
  @Test(arguments: [DType.f32, .f16]) func factors(_ dtype: DType) throws {
    let scratch = ScratchFolder()
    let file = try Self.written(dtype, .llama, scratch)
    for (key, value) in [("general.type", "adapter"), ("general.architecture", "llama"), ("adapter.type", "lora")] {
      #expect(try file.required(key).string == value)
    }
    #expect(file.metadata("adapter.lora.alpha") == nil && file.tensors.count == 6)
    func rounded(_ x: Float) -> Float { dtype == .f16 ? Float(Float16(x)) : x }
    let names = ["self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "mlp.down_proj": "ffn_down"]
    for module in Self.sample().modules {
      let name = try #require(names[String(module.name.dropFirst("model.layers.1.".count))])
      let a = try #require(file.tensor("blk.1.\(name).weight.lora_a"))
      let b = try #require(file.tensor("blk.1.\(name).weight.lora_b"))
      #expect(a.dtype == dtype && a.shape == [module.rank, 6] && b.shape == [module.shape[0], module.rank])
      #expect(try a.toFloat() == module.a.map(rounded))
      let got = try b.toFloat()
      for row in 0..<module.shape[0] {
        // Row 4·head + 2·pair + half of the file is row 4·head + 2·half + pair of PEFT's.
        let (head, pair, half) = (row / 4, row % 4 / 2, row % 2)
        let source = name.hasPrefix("attn") ? 4 * head + 2 * half + pair : row
        for k in 0..<module.rank {
          let value = rounded(Float(Double(module.b[source * module.rank + k]) * module.scaling))
          #expect(got[row * module.rank + k] == value)
        }
      }
    }
  }

  /// Qwen's rows stay where they are.
  @Test func otherArchitectures() throws {
    let scratch = ScratchFolder()
    let file = try Self.written(.f32, .qwen2, scratch)
    let module = try #require(Self.sample().modules.first { $0.name.hasSuffix("q_proj") })
    let got = try #require(file.tensor("blk.1.attn_q.weight.lora_b")).toFloat()
    #expect(got == module.b.map { Float(Double($0) * module.scaling) })
  }

  @Test func refusals() throws {
    let scratch = ScratchFolder()
    func error(_ change: (inout Adapter) throws -> Void, tensors: Set<String>? = nil, _ dtype: DType = .f32) throws -> GoraError?
    {
      var adapter = Self.sample()
      try change(&adapter)
      let file = try AtomicFile(path: "\(scratch.path)/out.gguf")
      return #expect(throws: GoraError.self) {
        try adapter.writeGGUF(to: file, dtype: dtype, architecture: .llama, headSize: 4, tensors: tensors, provenance: nil)
      }
    }
    #expect(try error({ $0.modules[0].name = "model.layers.1.mlp.other" })?.problem.contains("no tensor for module") == true)
    #expect(try error({ _ in }, tensors: ["blk.1.attn_q.weight"])?.status == .data)
    #expect(try error({ $0.modules[0].b[0] = 1e5 }, .f16)?.problem.contains("do not fit F16") == true)
    #expect(
      try error({ $0.layout = try DoRAKind(ranks: []) { _ in fatalError() } })?.problem.contains("does not know DoRA") == true)
    #expect(scratch.names == [])
  }

  /// Two blocks of Q8_0 as gguf-py 0.19 has them.
  @Test func blocksOfEightBits() throws {
    let bits: [UInt32] = [
      0, 1_058_889_731, 1_066_580_381, 1_069_737_839, 1_071_166_500, 1_070_673_002, 1_068_324_137, 1_063_522_406, 1_050_489_059,
      3_198_354_798, 3_211_171_248, 3_215_866_273, 3_218_183_114, 3_218_641_007, 3_217_177_976, 3_213_992_038, 3_206_191_928,
      1_010_683_461, 1_059_070_696, 1_066_651_925, 1_069_780_755, 1_071_174_982, 1_070_645_900, 1_068_265_119, 1_063_356_523,
      1_050_106_489, 3_198_736_394, 3_211_335_728, 3_215_924_234, 3_218_208_941, 3_218_631_206, 3_217_133_876, 3_213_919_607,
      3_206_010_009, 1_019_071_780, 1_059_251_177, 1_066_723_012, 1_069_823_079, 1_071_182_804, 1_070_618_164, 3_226_468_352,
      1_063_189_954, 1_049_723_459, 3_199_117_474, 3_211_499_528, 3_215_981_650, 3_218_234_128, 3_218_620_748, 3_217_089_186,
      3_213_846_726, 3_205_827_629, 1_024_350_758, 1_059_431_163, 1_066_793_661, 1_069_864_797, 1_071_189_966, 1_070_589_790,
      1_068_145_519, 1_063_022_684, 1_049_339_986, 3_199_498_078, 3_211_662_566, 3_216_038_546, 3_218_258_671,
    ]
    let bytes: [UInt8] = [
      212, 34, 0, 46, 86, 114, 127, 123, 102, 67, 23, 232, 188, 154, 133, 129, 142, 171, 211, 1, 47, 87, 115, 127, 122, 101, 66,
      22,
      231, 188, 153, 133, 129, 143, 141, 38, 212, 233, 1, 25, 45, 60, 66, 64, 129, 34, 11, 243, 220, 202, 192, 190, 197, 212, 233,
      1, 25, 46, 60, 66, 63, 52, 34, 11, 242, 220, 202, 192,
    ]
    #expect(BlockEncoding.bytes(of: bits.map(Float.init(bitPattern:)), as: .q80) == bytes)
    #expect(BlockEncoding.bytes(of: [Float](repeating: 0, count: 32), as: .q80) == [UInt8](repeating: 0, count: 34))
    #expect(BlockEncoding.bytes(of: [Float](repeating: .infinity, count: 32), as: .q80) == nil)
  }
}
