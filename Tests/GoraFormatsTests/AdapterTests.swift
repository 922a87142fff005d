import Foundation
import GoraCore
import GoraModels
import Testing

@testable import GoraFormats

/// Names, ranks and values of their own for each module; α 16 under the rsLoRA rule.
private func sample() -> Adapter {
  var numbers = TestNumbers(state: 7)
  func values(_ count: Int) -> [Float] { (0..<count).map { _ in Float.random(in: -1...1, using: &numbers) } }
  let sizes = [("model.layers.10.q_proj", 2, 6, 5), ("model.layers.2.q_proj", 4, 6, 5), ("model.layers.2.up_proj", 1, 7, 4)]
  return Adapter(
    modules: sizes.map { name, rank, out, input in
      AdapterModule(
        name: name, rank: rank, alpha: 16, scaling: 16 / Double(rank).squareRoot(), shape: [out, input],
        a: values(rank * input), b: values(out * rank))
    }, useRSLoRA: true, model: "identity")
}

/// s·B·A, row-major [out, in].
private func update(_ module: AdapterModule) -> [Double] {
  let (out, input) = (module.shape[0], module.shape[1])
  return (0..<out * input).map { index in
    (0..<module.rank).reduce(0.0) { sum, k in
      sum + module.scaling * Double(module.b[index / input * module.rank + k]) * Double(module.a[k * input + index % input])
    }
  }
}

/// What PEFT and Python's `re` say (Tests/Fixtures/adapters/make_fixtures.py).
@Suite struct AdapterMatchingTests {
  private let root: JSONField
  private let names: [String]

  init() throws {
    let path = "\(fixturesFolder)/adapters/matching.json"
    root = try JSONDocument(path: path, text: readWholeFile(path)).root
    names = try root.required("names").elements.map { try $0.string }
  }

  @Test func adaptsTheModulesThatPEFTAdapts() throws {
    for entry in try root.required("configs").elements {
      let config = try entry.required("config")
      let adapted = try entry.required("adapted").elements.map { try $0.string }
      let targets = try AdapterTargets(reading: config)
      #expect(names.filter(targets.contains) == adapted, "\(config.value.compact())")
    }
    // Without targets: what PEFT's table has for llama, mistral and qwen2.
    let standard = try AdapterTargets(reading: JSONDocument(path: "c", text: Array("{}".utf8)).root)
    #expect(names.filter(standard.contains) == names.filter { $0.hasSuffix("q_proj") || $0.hasSuffix("v_proj") })
    let linear = #"{"target_modules": "All-Linear", "exclude_modules": ["q_proj"]}"#
    let all = try AdapterTargets(reading: JSONDocument(path: "c", text: Array(linear.utf8)).root)
    #expect(names.filter(all.contains) == names.filter { !$0.hasSuffix("q_proj") && $0 != "lm_head" })
  }

  @Test func keysMatchAsInPEFT() throws {
    for entry in try root.required("keys").elements {
      let key = try entry.required("key").string
      let pattern = try #require(ModulePattern(key))
      #expect(try names.filter(pattern.matches) == entry.required("matches").elements.map { try $0.string }, "\(key)")
    }
  }

  /// Every expression gives Python's answers or is refused; those that Python refuses are refused.
  @Test func expressionsMatchAsInPython() throws {
    let texts = try root.required("texts").elements.map { try $0.string }
    var refused: [String] = []
    for entry in try root.required("expressions").elements {
      let text = try entry.required("expression").string
      let matches = try entry.optional("matches")?.elements.map { try $0.bool }
      if let expression = RegularExpression(text) {
        #expect(texts.map(expression.matches) == matches, "\(text)")
      } else if matches != nil {
        refused.append(text)
      }
    }
    #expect(refused == ["(?=a)b", #"(a)\1"#, "(?i)A", "a++", "(?<!a)b"])
  }

  @Test func longExpressionsEnd() {
    #expect(RegularExpression("((((){1000}){1000}){1000}){1000}") == nil)
    #expect(RegularExpression("((a{1000}){1000}){1000}") == nil)
    #expect(RegularExpression(String(repeating: "(", count: 100_000)) == nil)
    let expression = RegularExpression("(a*)*(a|a)*b")
    #expect(expression?.matches(String(repeating: "a", count: 10_000)) == false)
  }

  @Test(arguments: [
    (#"{"target_modules": "(?=q).*"}"#, "regular expression"), (#"{"exclude_modules": "(a"}"#, "regular expression"),
    (#"{"target_modules": "q_proj", "layers_to_transform": [1]}"#, "layers_to_transform"),
    (#"{"target_modules": ["q_proj"], "layers_pattern": "h"}"#, "layers_to_transform"),
    (#"{"target_modules": ["q_proj"], "layers_to_transform": 1, "layers_pattern": "(h)"}"#, "layers_pattern"),
    (#"{"target_modules": [1]}"#, "target_modules"), (#"{"layers_to_transform": "1"}"#, "layers_to_transform"),
  ])
  func refusesByName(_ config: String, _ part: String) {
    let error = #expect(throws: GoraError.self) {
      try AdapterTargets(reading: JSONDocument(path: "c", text: Array(config.utf8)).root)
    }
    #expect(error?.status == .data && error?.problem.contains(part) == true, "\(error?.problem ?? "")")
  }
}

@Suite struct AdapterTests {
  /// Ranks and scales that PEFT itself gave this folder (make_fixtures.py); r 4, α 16, rsLoRA and a rank_pattern.
  @Test func readsWhatPEFTWrote() throws {
    let adapter = try Adapter(readingFolder: "\(fixturesFolder)/llama/adapter")
    let ranks = Dictionary(uniqueKeysWithValues: adapter.modules.map { ($0.name, $0.rank) })
    #expect(ranks["model.layers.0.self_attn.q_proj"] == 8 && ranks["model.layers.0.self_attn.k_proj"] == 2)
    #expect(ranks["model.layers.1.self_attn.o_proj"] == 1 && ranks["model.layers.1.self_attn.q_proj"] == 4)
    #expect(adapter.modules.count == 8 && adapter.useRSLoRA && adapter.model == nil)
    for module in adapter.modules {
      #expect(module.alpha == 16 && abs(module.scaling * module.scaling * Double(module.rank) - 256) < 1e-9)
      #expect(module.a.count == module.rank * module.shape[1] && module.b.count == module.rank * module.shape[0])
    }
  }

  @Test(arguments: AdapterProfile.allCases) func keepsTheUpdate(_ profile: AdapterProfile) throws {
    let scratch = ScratchFolder()
    let adapter = sample()
    #expect(adapter.modules.map(\.name) == ["model.layers.2.q_proj", "model.layers.2.up_proj", "model.layers.10.q_proj"])
    let provenance = try Provenance().appending(tool: "t", version: "1", arguments: ["a \"b\""], inputs: [])
    let folder = "\(scratch.path)/out/adapter"
    try adapter.write(folder: folder, profile: profile, baseModel: "base", provenance: provenance)
    let read = try Adapter(readingFolder: folder)
    #expect(read.model == "identity" && read.baseModel == "base" && read.provenance == provenance)
    #expect(read.modules.map(\.name) == adapter.modules.map(\.name))
    for (got, want) in zip(read.modules, adapter.modules) {
      #expect(got.shape == want.shape)
      for (x, y) in zip(update(got), update(want)) { #expect(abs(x - y) < 1e-5) }
    }
    switch profile {
    case .native:
      #expect(read.useRSLoRA)
      #expect(read.modules == adapter.modules)
    case .ranked:
      #expect(!read.useRSLoRA)
      #expect(read.modules.map(\.rank) == [4, 1, 2] && read.modules.map(\.scaling) == [1, 4, 2])
    case .compact:
      #expect(!read.useRSLoRA)
      #expect(read.modules.map(\.rank) == [4, 1, 2] && read.modules.map(\.alpha) == [4, 1, 2])
      #expect(read.modules.map(\.scaling) == [1, 1, 1])
    case .padded:
      #expect(read.modules.map(\.rank) == [4, 4, 4] && read.modules.map(\.scaling) == [1, 1, 1])
    }
    // Writing what was read changes no byte.
    try read.write(folder: "\(scratch.path)/again", profile: profile, baseModel: "base", provenance: provenance)
    for name in Adapter.fileNames {
      #expect(try scratch.bytes("again/\(name)") == scratch.bytes("out/adapter/\(name)"))
    }
  }

  /// A start that is taken back: twice the rank, no update, and the half that stays is known again after reading.
  @Test(arguments: AdapterProfile.allCases, [true, false])
  func residualsAreTheBaseAtFirst(_ profile: AdapterProfile, _ useRSLoRA: Bool) throws {
    let scratch = ScratchFolder()
    var adapter = sample()
    adapter.useRSLoRA = useRSLoRA
    adapter.modules = adapter.modules.map { module in
      var module = module
      if !useRSLoRA { module.scaling = module.alpha / Double(module.rank) }
      return module.residual(useRSLoRA: useRSLoRA)
    }
    adapter.start = .object(["method": "pissa"])
    for (module, plain) in zip(adapter.modules, sample().modules) {
      #expect(module.rank == 2 * plain.rank && module.frozenRank == plain.rank && module.trained == 0..<plain.rank)
      #expect(module.components(module.trained) == (plain.a, plain.b))
      #expect(module.components(module.frozen) == (plain.a, plain.b.map { -$0 }))
      #expect(update(module).allSatisfy { abs($0) < 1e-15 })
    }
    let count = sample().modules.reduce(0) { $0 + $1.a.count + $1.b.count }
    #expect(adapter.trainedParameters == count && adapter.parameters == 2 * count)
    // As training would: only the first half moves, and the update is the difference.
    for i in adapter.modules.indices {
      let part = adapter.modules[i].components(adapter.modules[i].trained)
      adapter.modules[i].replaceTrained(a: part.a.map { 2 * $0 }, b: part.b)
    }
    let folder = "\(scratch.path)/r"
    try adapter.write(folder: folder, profile: profile, baseModel: "b", provenance: nil)
    let read = try Adapter(readingFolder: folder)
    #expect(read.start == adapter.start)
    for (module, plain) in zip(read.modules, sample().modules) {
      #expect(module.frozenRank == (profile == .padded ? 0 : plain.rank))
      // s·(2 − 1)·B·A by the plain factors, whichever rule the scale is written in.
      let scale = useRSLoRA ? 1 : 1 / Double(plain.rank).squareRoot()
      for (x, y) in zip(update(module), update(plain)) { #expect(abs(x - scale * y) < 2e-5) }
    }
  }

  @Test func frozenRanksAreChecked() throws {
    let scratch = ScratchFolder()
    var adapter = sample()
    adapter.modules[0].frozenRank = 4
    try adapter.write(folder: "\(scratch.path)/all", profile: .native, baseModel: "b", provenance: nil)
    #expect { try Adapter(readingFolder: "\(scratch.path)/all") } throws: {
      ($0 as? GoraError)?.status == .data && "\($0)".contains("expected 0 to 3")
    }
  }

  @Test func goesOnFromThePlainRule() throws {
    let scratch = ScratchFolder()
    let adapter = sample()
    try adapter.write(folder: "\(scratch.path)/c", profile: .compact, baseModel: "b", provenance: nil)
    var compact = try Adapter(readingFolder: "\(scratch.path)/c")
    #expect(compact.provenance.records.isEmpty)
    for i in compact.modules.indices { compact.modules[i].nativeScaling = nil }
    try compact.write(folder: "\(scratch.path)/n", profile: .native, baseModel: "b", provenance: nil)
    let native = try Adapter(readingFolder: "\(scratch.path)/n")
    #expect(native.useRSLoRA)
    for (got, want) in zip(native.modules, compact.modules) {
      #expect(abs(got.scaling - 1) < 1e-12 && got.a == want.a && got.b == want.b)
    }
  }

  /// s goes into B for other readers, and comes out of it for training that goes on, here and in PEFT.
  @Test(arguments: [AdapterProfile.ranked, .compact, .padded]) func goesOnAsItWasTrained(_ profile: AdapterProfile) throws {
    let scratch = ScratchFolder()
    let adapter = sample()
    try adapter.write(folder: "\(scratch.path)/c", profile: profile, baseModel: "b", provenance: nil)
    let read = try Adapter(readingFolder: "\(scratch.path)/c")
    try read.write(folder: "\(scratch.path)/n", profile: .native, baseModel: "b", provenance: nil)
    for other in [read.unfolded, try Adapter(readingFolder: "\(scratch.path)/n")] {
      for (got, want) in zip(other.modules, adapter.modules) {
        // The padded profile has forgotten where the rank ended.
        let rank = got.rank
        #expect(abs(got.scaling / want.scaling - 1) < 1e-12 && Array(got.a.prefix(want.a.count)) == want.a)
        for row in 0..<want.shape[0] {
          for k in 0..<want.rank {
            // Two roundings, of s·B and of its quotient.
            let (x, y) = (got.b[row * rank + k], want.b[row * want.rank + k])
            #expect(abs(x - y) <= 1.3e-7 * abs(y))
          }
        }
      }
    }
  }

  /// Each reader's own rule, on each profile: what is right where (measured with the readers themselves, see gora-adapter(5)).
  @Test func readersRules() throws {
    let scratch = ScratchFolder()
    let adapter = sample()
    let right: [AdapterProfile: [AdapterReader]] = [
      .native: [.peft, .vllm], .ranked: [.peft, .vllm, .llamaCPP], .compact: [.peft, .vllm, .oldVLLM],
      .padded: AdapterReader.allCases,
    ]
    for profile in AdapterProfile.allCases {
      let folder = "\(scratch.path)/\(profile.rawValue)"
      try adapter.write(folder: folder, profile: profile, baseModel: "b", provenance: nil)
      let read = try Adapter(readingFolder: folder)
      for reader in AdapterReader.allCases {
        let reading = try reader.reading(read, folder: folder, kinds: AdapterKinds.all, hasHead: false)
        let isRight = zip(reading.scalings, read.modules).allSatisfy { abs($0 / $1.scaling - 1) < 1e-12 }
        #expect(reading.refusal == nil && isRight == right[profile]?.contains(reader), "\(profile) \(reader)")
      }
    }
    #expect([1, 2, 30, 64, 513].map { AdapterReader.vLLMRank(for: $0) } == [1, 8, 32, 64, nil])
  }

  /// The card names the base and the readers that the profile is for, and is the same for equal adapters.
  @Test func hasACard() throws {
    let scratch = ScratchFolder()
    let provenance = try Provenance().appending(tool: "gora-train", version: "1", arguments: ["a b", "--lr", "1"], inputs: [])
    try sample().write(folder: "\(scratch.path)/c", profile: .ranked, baseModel: "org/name", provenance: provenance)
    let card = String(decoding: try scratch.bytes("c/README.md"), as: UTF8.self)
    for words in [
      "base_model: \"org/name\"", "library_name: peft", "| modules | 3 |", "1 to 4, mean 2.33", "--max-lora-rank 8",
      "convert_lora_to_gguf.py", "    gora-train \"a b\" --lr 1",
    ] {
      #expect(card.contains(words), "\(words)")
    }
  }

  @Test func writesTheConfigurationAsPEFTDoes() throws {
    let scratch = ScratchFolder()
    try sample().write(folder: scratch.path, profile: .native, baseModel: "b", provenance: nil)
    let text = String(decoding: try scratch.bytes("adapter_config.json"), as: UTF8.self)
    #expect(text.hasPrefix("{\n  \"alpha_pattern\": {},\n  \"auto_mapping\": null,\n"))
    #expect(text.contains("  \"lora_alpha\": 16,\n"))
    #expect(text.contains("  \"lora_dropout\": 0.0,\n"))
    #expect(
      text.contains("  \"rank_pattern\": {\n    \"model.layers.10.q_proj\": 2,\n    \"model.layers.2.q_proj\": 4,\n"))
    #expect(text.contains("  \"target_modules\": [\n    \"model.layers.10.q_proj\",\n    \"model.layers.2.q_proj\",\n"))
    let keys = try JSONDocument(path: "c", text: Array(text.utf8)).root.members.map(\.key)
    #expect(keys == keys.sorted())
    #expect(scratch.names == ["README.md", "adapter_config.json", "adapter_model.safetensors"])
  }

  @Test(arguments: [AdapterProfile.native, .compact, .padded])
  func keepsTheDropoutOfOthers(_ profile: AdapterProfile) throws {
    let scratch = ScratchFolder()
    var adapter = sample()
    adapter.dropout = 0.05
    try adapter.write(folder: scratch.path, profile: profile, baseModel: "b", provenance: nil)
    #expect(try Adapter(readingFolder: scratch.path).dropout == 0.05)
    let text = try String(decoding: scratch.bytes("adapter_config.json"), as: UTF8.self)
    #expect(text.contains("\"lora_dropout\": 0.05,"))
    for share in ["-0.1", "1.5", "\"a\""] {
      _ = try scratch.file("adapter_config.json", text.replacing("\"lora_dropout\": 0.05", with: "\"lora_dropout\": \(share)"))
      let error = errorThrown { try Adapter(readingFolder: scratch.path) }
      #expect(error.status == .data && error.problem.contains("lora_dropout"), "\(error)")
    }
  }

  @Test func leavesOutRankZero() throws {
    let scratch = ScratchFolder()
    var adapter = sample()
    adapter.modules.append(AdapterModule(name: "none", rank: 0, alpha: 16, scaling: 0, shape: [2, 2], a: [], b: []))
    try adapter.write(folder: scratch.path, profile: .padded, baseModel: "b", provenance: nil)
    #expect(try Adapter(readingFolder: scratch.path).modules.count == 3)
    adapter.modules.removeFirst(3)
    #expect(
      errorThrown { try adapter.write(folder: scratch.path, profile: .native, baseModel: "b", provenance: nil) }.status == .data)
    adapter = sample()
    adapter.modules[0].b[0] = .nan
    #expect(
      errorThrown { try adapter.write(folder: scratch.path, profile: .native, baseModel: "b", provenance: nil) }.status == .data)
    #expect(try Adapter(readingFolder: scratch.path).modules.count == 3, "the good folder is still there")
  }

  @Test(arguments: [
    ("\"peft_type\": \"LORA\"", "\"peft_type\": \"LOHA\"", "peft_type"),
    ("\"peft_type\": \"LORA\"", "\"peft_type\": \"ADALORA\"", "does not end in .lora_E"),
    ("\"use_dora\": false", "\"use_dora\": true", "no lora_magnitude_vector"),
    ("\"use_qalora\": false", "\"use_qalora\": true", "use_qalora"),
    ("\"lora_bias\": false", "\"lora_bias\": true", "lora_bias"),
    ("\"fan_in_fan_out\": false", "\"fan_in_fan_out\": true", "fan_in_fan_out"),
    ("\"bias\": \"none\"", "\"bias\": \"all\"", "bias"),
    ("\"modules_to_save\": null", "\"modules_to_save\": [\"lm_head\"]", "modules_to_save"),
    ("\"exclude_modules\": null", "\"exclude_modules\": [\"q_proj\"]", "does not say that \"model.layers.2.q_proj\" is adapted"),
    ("\"use_dora\": false", "\"ensure_weight_tying\": true", "ensure_weight_tying"),
    ("\"target_parameters\": null", "\"target_parameters\": [\"x\"]", "target_parameters"),
    ("\"init_lora_weights\": true", "\"init_lora_weights\": \"pissa\"", "init_lora_weights"),
    ("\"rank_pattern\": {", "\"rank_pattern\": {\"(?=q)_proj\": 3,", "(?=q)_proj"),
    ("\"rank_pattern\": {", "\"rank_pattern\": {\"q_proj\": 0,", "q_proj"),
    ("\"model.layers.2.q_proj\": 4", "\"model.layers.2.q_proj\": 5", "says rank 5"),
    ("\"r\": 4", "\"r\": 0", "\"r\""),
  ])
  func refusesConfigurations(_ old: String, _ new: String, _ words: String) throws {
    let scratch = ScratchFolder()
    try sample().write(folder: scratch.path, profile: .native, baseModel: "b", provenance: nil)
    let text = String(decoding: try scratch.bytes("adapter_config.json"), as: UTF8.self)
    try #require(text.contains(old))
    _ = try scratch.file("adapter_config.json", text.replacingOccurrences(of: old, with: new))
    let error = errorThrown { try Adapter(readingFolder: scratch.path) }
    #expect(error.status == .data && error.description.contains(words), "\(error)")
  }

  @Test func refusesWeights() throws {
    let scratch = ScratchFolder()
    try sample().write(folder: scratch.path, profile: .native, baseModel: "b", provenance: nil)
    let prefix = "base_model.model.model.layers.2.q_proj"
    func refusal(_ tensors: [(String, DType, [Int], [Float])]) throws -> GoraError {
      var good: [(String, [Int], [UInt8])] = []
      for tensor in tensors {
        let bytes = tensor.3.withUnsafeBytes { Array($0) }
        good.append((tensor.0, tensor.2, bytes))
      }
      var offset = 0
      let members = zip(tensors, good).map { tensor, good in
        defer { offset += good.2.count }
        return JSON.Member(
          tensor.0,
          .object([
            "dtype": JSON(tensor.1.rawValue), "shape": .integers(tensor.2),
            "data_offsets": .integers([offset, offset + good.2.count]),
          ]))
      }
      let header = Array(JSON(.object(members)).compact().utf8)
      _ = try scratch.file(
        "adapter_model.safetensors",
        withUnsafeBytes(of: UInt64(header.count).littleEndian) { Array($0) } + header + good.flatMap(\.2))
      return errorThrown { try Adapter(readingFolder: scratch.path) }
    }
    let a = (prefix + ".lora_A.weight", DType.f32, [4, 1], [1, 2, 3, 4] as [Float])
    let b = (prefix + ".lora_B.weight", DType.f32, [1, 4], [1, 2, 3, 4] as [Float])
    #expect(try refusal([a]).problem.contains("no lora_B"))
    #expect(try refusal([b]).problem.contains("no lora_A"))
    #expect(try refusal([]).problem.contains("no factors"))
    #expect(try refusal([a, b, ("x", .f32, [1], [1])]).problem.contains("not a LoRA factor"))
    #expect(try refusal([a, (b.0, .f32, [2, 2], b.3)]).problem.contains("[2, 4] is expected"))
    #expect(try refusal([(a.0, .f32, [2, 2], a.3), (b.0, .f32, [2, 2], b.3)]).problem.contains("says rank 4"))
    #expect(try refusal([a, (b.0, .i32, [1, 4], b.3)]).problem.contains("type I32"))
    #expect(try refusal([a, (b.0, .f32, [4], b.3)]).problem.contains("shape [4]"))
    let infinite = try refusal([a, (b.0, .f32, [1, 4], [1, 2, .infinity, 4])])
    #expect(infinite.problem.contains("element 2") && infinite.description.contains(b.0))
  }

  @Test func refusesWhatIsMissing() throws {
    let scratch = ScratchFolder()
    #expect(errorThrown { try Adapter(readingFolder: "\(scratch.path)/none") }.status == .noInput)
    #expect(errorThrown { try Adapter(readingFolder: scratch.path) }.problem.contains("no adapter_config.json"))
    let model = errorThrown { try Adapter(readingFolder: "\(fixturesFolder)/llama/model") }
    #expect(model.status == .noInput && model.hint?.contains("model") == true)
    _ = try scratch.file("adapter_config.json", "{}")
    #expect(errorThrown { try Adapter(readingFolder: scratch.path) }.problem.contains("no adapter_model.safetensors"))
  }

  @Test func mutatedFoldersNeverCrash() throws {
    let scratch = ScratchFolder()
    try sample().write(folder: scratch.path, profile: .native, baseModel: "b", provenance: nil)
    let valid = try scratch.bytes("adapter_config.json")
    var numbers = TestNumbers(state: 3)
    var refused = 0
    for _ in 0..<1000 {
      var bytes = valid
      if Int.random(in: 0..<4, using: &numbers) == 0 { bytes.removeLast(Int.random(in: 1...bytes.count, using: &numbers)) }
      for _ in 0..<Int.random(in: 1...3, using: &numbers) where !bytes.isEmpty {
        bytes[Int.random(in: 0..<bytes.count, using: &numbers)] ^= 1 << UInt8.random(in: 0..<8, using: &numbers)
      }
      _ = try scratch.file("adapter_config.json", bytes)
      do throws(GoraError) {
        #expect(try Adapter(readingFolder: scratch.path).modules.count == 3)
      } catch {
        refused += 1
        #expect(error.status == .data)
      }
    }
    #expect(refused > 500)
  }

  @Test func ordersNaturally() {
    let names = ["a10", "a2", "a02", "b", "a", "a2.x", "a2.b10", "a2.b9", ""]
    let ordered = names.sorted(by: naturallyPrecedes)
    #expect(ordered == ["", "a", "a02", "a2", "a2.b9", "a2.b10", "a2.x", "a10", "b"])
    #expect(names.reversed().sorted(by: naturallyPrecedes) == ordered)
  }
}
