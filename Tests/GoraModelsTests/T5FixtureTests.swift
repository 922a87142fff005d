import Foundation
import GoraCore
import GoraFormats
import Testing

@testable import GoraModels

/// T5 1.0 and 1.1 and mT5 beside Transformers in float64 (Fixtures/t5/make_fixtures.py), and what its blocks keep.
@Suite(.serialized) struct T5FixtureTests {
  static let golden = try! Fixtures.golden("t5")
  static let cases = try! golden.required("cases").members.map(\.key)
  static let configs = try! golden.required("configs").members.map(\.key)
  static let sources = try! golden.required("sources").elements.map { try $0.ints.map(Int32.init) }
  static let targets = try! golden.required("targets").elements.map { try $0.ints.map(Int32.init) }

  init() throws {
    try Matmul.open()
    ThreadPool.start(threads: 2)
  }

  /// The case's model: its weights, less the rows of the biases that it has no buckets for.
  static func model(_ name: String, _ precision: Precision = .f32) throws -> T5Model {
    let test = try golden.required("cases").required(name)
    var members = ["model_type": "\"t5\""]
    for field in try [golden.required("shape"), test.required("change")] {
      for member in try field.members { members[member.key] = member.field.value.compact() }
    }
    let text = "{" + members.map { "\"\($0.key)\": \($0.value)" }.joined(separator: ",") + "}"
    let folder = FileManager.default.temporaryDirectory.appending(path: "gora-\(UUID().uuidString)").path()
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try text.write(toFile: "\(folder)/config.json", atomically: false, encoding: .utf8)
    try FileManager.default.createSymbolicLink(
      atPath: "\(folder)/model.safetensors",
      withDestinationPath: "\(Fixtures.folder)/t5/\(test.required("weights").string).safetensors")
    let checkpoint = try ModelFolder(path: folder)
    guard let config = try ModelFamilies.config(of: checkpoint) as? T5Config else { throw GoraError(.data, "no T5") }
    return try T5Model(config: config, from: FirstRows(CheckpointSource(folder: checkpoint, precision: precision), checkpoint))
  }

  /// A table of biases may have more rows than the case has buckets.
  private struct FirstRows: ParameterSource {
    let source: CheckpointSource
    let folder: ModelFolder
    init(_ source: CheckpointSource, _ folder: ModelFolder) { (self.source, self.folder) = (source, folder) }
    func parameter(_ name: String, shape: [Int]) throws(GoraError) -> Parameter {
      guard name.hasSuffix("relative_attention_bias.weight"), let tensor = folder.tensor(name), tensor.shape[0] > shape[0] else {
        return try source.parameter(name, shape: shape)
      }
      let values = try tensor.toFloat()
      return Parameter(name: name, shape: shape, values: FloatBuffer(Array(values.prefix(shape[0] * shape[1]))))
    }
  }

  /// The rows of the fixture as an encoder-decoder model's: the begin token, then the labels.
  static func batch(_ config: T5Config) -> PackedBatch {
    let rows = targets.map { labels in
      (ids: [config.startToken] + labels.map { $0 == -100 ? 0 : $0 }, labels: [-100] + labels)
    }
    return PackedBatch(rows: rows, sources: sources)
  }

  /// Sources of 9, 300, 1 and 140 tokens beside answers of 5, 3, 150 and 1, packed, with labels that are not learnt. A bias or a scale
  /// left out, or a key too many, moves these numbers by 1e-2 or more; f32 by some 1e-6.
  @Test(arguments: cases) func logitsAndLoss(_ name: String) throws {
    let model = try Self.model(name)
    let batch = Self.batch(model.config)
    let logits = model.logits(batch)
    let vocabulary = model.config.vocabularySize
    let last = zip(batch.starts, batch.starts.dropFirst()).flatMap { start, end in
      logits[max(start, end - 2) * vocabulary..<end * vocabulary]
    }
    #expect(relativeError(last, try #require(try Fixtures.tensors("t5/golden.safetensors")["\(name)/logits"])) < 2e-5)
    let test = try Self.golden.required("cases").required(name)
    #expect(abs(model.loss(batch) / Double(batch.targets.count) - (try test.required("loss").double)) < 2e-5)
    // Each row by itself is what it is among the others.
    for (row, expected) in try test.required("row_losses").elements.enumerated() {
      let (source, labels) = (Self.sources[row], Self.targets[row])
      let alone = PackedBatch(
        rows: [([model.config.startToken] + labels.map { max($0, 0) }, [-100] + labels)], sources: [source])
      #expect(abs(model.loss(alone) / Double(alone.targets.count) - (try expected.double)) < 2e-5)
    }
  }

  /// All of them, the biases' by distance among them, with activations kept and made again, by one thread and by more than there are
  /// heads.
  @Test(arguments: cases, [(1, false), (2, true), (7, false)]) func gradients(
    _ name: String, _ run: (threads: Int, recomputes: Bool)
  ) throws {
    let model = try Self.model(name)
    model.recomputesActivations = run.recomputes
    ThreadPool.start(threads: run.threads)
    let batch = Self.batch(model.config)
    let expected = try Fixtures.tensors("t5/golden.safetensors")
    for parameter in model.parameters { parameter.makeTrainable() }
    _ = model.accumulateGradient(batch, scale: 1 / Float(batch.targets.count))
    #expect(expected.keys.count { $0.hasPrefix("\(name)/gradient/") } == model.parameters.count)
    for parameter in model.parameters {
      let exact = try #require(expected["\(name)/gradient/\(parameter.name)"], "\(parameter.name)")
      #expect(relativeError(parameter.gradient!.array, exact) < 2e-4, "\(parameter.name)")
    }
  }

  /// Wherever the lowest learner is, its gradient is that of the whole: the linears of one block alone, or a norm.
  @Test(arguments: [0, 1, 2, 4]) func gradientsOfSome(_ block: Int) throws {
    let model = try Self.model("v1.1")
    let batch = Self.batch(model.config)
    let expected = try Fixtures.tensors("t5/golden.safetensors")
    var finished: [Int] = []
    for linear in model.blocks[block] { linear.weight.makeTrainable() }
    _ = model.accumulateGradient(batch, scale: 1 / Float(batch.targets.count)) { finished.append($0) }
    #expect(finished == (block..<5).reversed())
    for linear in model.blocks[block] {
      let exact = try #require(expected["v1.1/gradient/\(linear.weight.name)"])
      #expect(relativeError(linear.weight.gradient!.array, exact) < 2e-4, "\(linear.name)")
    }
    let norm = try Self.model("v1.1")
    norm.encoder.finalNorm.weight.makeTrainable()
    _ = norm.accumulateGradient(batch, scale: 1 / Float(batch.targets.count))
    let exact = try #require(expected["v1.1/gradient/encoder.final_layer_norm.weight"])
    #expect(relativeError(norm.encoder.finalNorm.weight.gradient!.array, exact) < 2e-4)
  }

  /// Transformers' own continuations, all rows together, two at a time and one by one; a slot is taken over by a row with another source.
  @Test(arguments: cases, [1, 2, 4]) func greedy(_ name: String, batchSize: Int) throws {
    let model = try Self.model(name)
    let expected = try Self.golden.required("cases").required(name).required("greedy").elements.map {
      try $0.ints.map(Int32.init)
    }
    var result = [[Int32]](repeating: [], count: Self.sources.count)
    try Generator(model: model, sampling: Sampling(), batchSize: batchSize, maxNewTokens: expected[0].count, endTokens: [])
      .generate(Self.sources.map { _ in [model.config.startToken] }, sources: Self.sources) { result[$0] = $1 }
    #expect(result == expected)
  }

  /// The decoder may begin with more than its begin token: the cache's next tokens are those of the whole row run again, past the
  /// distances that have buckets of their own, in either precision of the cache.
  @Test(arguments: Precision.allCases) func cacheEqualsRunningAgain(_ precision: Precision) throws {
    let model = try Self.model("v1.0-buckets", precision)
    let begun: [Int32] = [0, 7, 12]
    var row = begun
    var logits: [[Float]] = []
    for _ in 0..<60 {
      let batch = PackedBatch(rows: [(row + [1], row + [1])], sources: [Self.sources[0]])
      logits.append(Array(model.logits(batch).suffix(model.vocabularySize)))
      row.append(Int32(try #require(logits.last!.firstIndex(of: logits.last!.max() ?? 0))))
    }
    let cache = KeyValueCache(
      model.cachedWidth, slots: 1, capacity: 63, sourceCapacity: 9, isBFloat16: model.roundsToBFloat16)
    for (step, expected) in logits.enumerated() {
      let new = step == 0 ? begun : [row[begun.count + step - 1]]
      let found = model.next(CachedStep(cache: cache, rows: [(0, new)], sources: step == 0 ? [Self.sources[0]] : [[]]))
      // With bf16 the cache rounds values that a whole row has in f32.
      #expect(
        relativeError(Array(UnsafeBufferPointer(start: found, count: expected.count)), expected)
          < (precision == .bf16 ? 0.02 : 1e-5))
    }
  }

  /// In bf16 each product rounds its input to 8 bits, some 2⁻⁹ a product, through five blocks with sharp attention, and the weights'
  /// gradients are sums of up to 450 of those. PyTorch in bf16 is up to 0.086 away from float64 on these, 0.19 in the case of mT5, whose
  /// decoder begins elsewhere.
  @Test(arguments: cases) func bf16(_ name: String) throws {
    let model = try Self.model(name, .bf16)
    for linear in model.linears { linear.weight.gradient = FloatBuffer(zeros: linear.weight.count) }
    let batch = Self.batch(model.config)
    let loss = model.accumulateGradient(batch, scale: 1 / Float(batch.targets.count))
    let exact = try Self.golden.required("cases").required(name).required("loss").double
    #expect(abs(loss / Double(batch.targets.count) - exact) < 0.01 * exact)
    let expected = try Fixtures.tensors("t5/golden.safetensors")
    for linear in model.linears {
      let error = relativeError(
        linear.weight.gradient!.array, try #require(expected["\(name)/gradient/\(linear.weight.name)"]))
      #expect(error > 0 && error < (name == "mt5" ? 0.2 : 0.1), "\(linear.name)")
    }
  }

  /// Recomputed or kept are the same bits, in either precision, with adapters beside all linears.
  @Test(arguments: cases, Precision.allCases) func recomputedEqualsKept(_ name: String, _ precision: Precision) throws {
    func run(_ precision: Precision, recomputes: Bool) throws -> (loss: Double, weights: [[Float]], adapters: [[Float]]) {
      let model = try Self.model(name, precision)
      model.recomputesActivations = recomputes
      for linear in model.linears {
        linear.weight.gradient = FloatBuffer(zeros: linear.weight.count)
        linear.adapter = Self.adapter(linear, rank: 3)
      }
      let batch = Self.batch(model.config)
      // Another batch first, so that what an earlier one leaves behind would show.
      _ = model.accumulateGradient(PackedBatch(rows: [([0, 5, 6], [-100, 5, 6])], sources: [[9, 1]]), scale: 0)
      let loss = model.accumulateGradient(batch, scale: 1 / Float(batch.targets.count))
      return (
        loss, model.linears.map { $0.weight.gradient!.array },
        model.linears.flatMap { [$0.adapter!.a.gradient!.array, $0.adapter!.b.gradient!.array] }
      )
    }
    let (kept, again) = (try run(precision, recomputes: false), try run(precision, recomputes: true))
    #expect(kept.loss == again.loss && kept.weights == again.weights && kept.adapters == again.adapters)
  }

  private static func adapter(_ linear: Linear, rank: Int) -> LowRankAdapter {
    var random = Random(seed: 5, stream: linear.name)
    let adapter = LowRankAdapter(
      module: linear.name, rank: rank, scaling: 0.5,
      a: FloatBuffer((0..<rank * linear.inputSize).map { _ in Float(random.normal() * 0.2) }),
      b: FloatBuffer((0..<rank * linear.outputSize).map { _ in Float(random.normal() * 0.2) }),
      inputSize: linear.inputSize, outputSize: linear.outputSize)
    for parameter in adapter.parameters { parameter.gradient = FloatBuffer(zeros: parameter.count) }
    return adapter
  }

  /// What is counted before a run is what the run takes, to the float: with adapters of another rank in each block, from the encoder's
  /// first block, its second, the decoder's first or second on.
  @Test(arguments: [0, 1, 2, 3], [(Precision.f32, false), (.bf16, false), (.f32, true), (.bf16, true)])
  func countedIsTaken(_ lowest: Int, _ run: (precision: Precision, recomputes: Bool)) throws {
    let model = try Self.model("v1.1", run.precision)
    model.recomputesActivations = run.recomputes
    for (index, block) in model.blocks.enumerated() where index >= lowest {
      for linear in block { linear.adapter = Self.adapter(linear, rank: 2 + index) }
    }
    let batch = Self.batch(model.config)
    let (source, target) = (batch.source!.ids.count, batch.ids.count)
    func stored(_ model: T5Model) -> Int {
      [model.encoder.activations, model.decoder.activations, model.decoder.activationsOfMemory].reduce(0) { $0 + $1.floats }
    }
    _ = model.loss(batch)
    #expect(stored(model) == model.ofStacks(source: source, target: target, lowest: (2, 3), model.keeping))
    #expect(model.scratch.floats == T5Scratch.floats(model.config, tokens: max(source, target), backward: false))
    let fresh = try Self.model("v1.1", run.precision)
    fresh.recomputesActivations = run.recomputes
    for (from, to) in zip(model.linears, fresh.linears) { to.adapter = from.adapter }
    _ = fresh.accumulateGradient(batch, scale: 1)
    #expect(
      stored(fresh) == fresh.ofStacks(source: source, target: target, lowest: (min(lowest, 2), max(0, lowest - 2)), fresh.keeping)
    )
    #expect(fresh.scratch.floats == T5Scratch.floats(fresh.config, tokens: max(source, target), backward: true))
    #expect(fresh.encoder.bias.floats == fresh.encoder.bias.floats(longest: 300, tokens: source, backward: true))
    // By hand, where all blocks keep theirs: a block's buffers at four bytes.
    let (h, f, i, heads) = (20, 24, 12, 2)
    if !run.recomputes, run.precision == .f32, lowest == 0 {
      let own = 2 * h + 2 + 4 * i + heads + 2 * f
      let ranks = (0..<5).map { 2 + $0 }
      let encoder = 2 * own + 7 * (ranks[0] + ranks[1])
      let decoder = 3 * (own + h + 1 + 2 * i + heads) + 9 * (ranks[2] + ranks[3] + ranks[4])
      let memory = 3 * 2 * i + 2 * (ranks[2] + ranks[3] + ranks[4])
      #expect(stored(fresh) == source * (encoder + memory) + target * decoder)
    }
    // Not knowing how they are shared out counts no less.
    let (known, bound) = (
      fresh.activationBytes(source: source, target: target, labelled: 150, lowest: lowest, recomputes: run.recomputes),
      fresh.activationBytes(tokens: source + target, labelled: 150, lowest: lowest, recomputes: run.recomputes)
    )
    #expect(known <= bound)
    #expect(model.forwardBytes(source: source, target: target, rows: 4) <= model.forwardBytes(tokens: source + target, rows: 4))
  }

  /// The rows of an encoder-decoder model: a last token is a label alone.
  @Test func packed() {
    let batch = PackedBatch(
      rows: [([0, 5, 1], [-100, 5, 1]), ([0, 7, 8, 1], [-100, 7, -100, 1])], sources: [[4, 1], [3, 4, 1]])
    #expect(batch.ids == [0, 5, 0, 7, 8] && batch.starts == [0, 2, 5] && batch.positions == [0, 1, 0, 1, 2])
    #expect(batch.source?.ids == [4, 1, 3, 4, 1] && batch.source?.starts == [0, 2, 5] && batch.tokens == 10)
    #expect(batch.targets.map(\.token) == [0, 1, 2, 4] && batch.targets.map(\.label) == [5, 1, 7, 1])
    #expect(batch.labelled == [0, 1, 2, 4])
  }

  /// Which linears see the encoder's tokens: all of its own, and keys and values of the decoder's attention to it.
  @Test func inputs() throws {
    let model = try Self.model("v1.0")
    #expect(model.linearsByInput.flatMap { $0 }.count == model.linears.count)
    let ofSource = model.linears.filter(model.seesSource).map(\.name)
    #expect(ofSource.count == 2 * 6 + 3 * 2)
    #expect(
      ofSource.allSatisfy { $0.hasPrefix("encoder.") || $0.hasSuffix("EncDecAttention.k") || $0.hasSuffix("EncDecAttention.v") })
  }

  // MARK: Configurations

  private static func read(_ text: String) throws(GoraError) -> T5Config {
    guard let config = try ModelFamilies.config(reading: JSONDocument(path: "config.json", text: Array(text.utf8))) as? T5Config
    else { throw GoraError(.data, "no T5") }
    return config
  }

  /// What configuration classes say; of a new model, which has a head of its own where they are not tied.
  @Test(arguments: configs) func configuration(_ name: String) throws {
    let test = try Self.golden.required("configs").required(name)
    let config = try Self.read(test.required("config").value.compact())
    func int(_ key: String) throws -> Int { try test.required(key).int }
    #expect(try config.hiddenSize == int("hidden") && config.intermediateSize == int("intermediate"))
    #expect(try config.encoderLayers == int("layers") && config.decoderLayers == int("decoder_layers"))
    #expect(try config.heads == int("heads") && config.headSize == int("head_size") && config.vocabularySize == int("vocabulary"))
    #expect(try config.normEpsilon == Float(test.required("epsilon").double) && config.eosTokens == [Int32(int("eos"))])
    #expect(try config.buckets == int("buckets") && config.maxDistance == int("distance"))
    #expect(try config.initializerFactor == test.required("factor").double && config.scalesOutput == test.required("scales").bool)
    let activation = try test.required("activation").string
    #expect(try config.activation.isGated == test.required("gated").bool)
    #expect(
      config.activation == (activation == "relu" ? .relu : .gated(activation == "silu" ? .silu : .geluTanh)))
    #expect(try config.parameterCount - (config.tiesEmbeddings ? 0 : config.headWeights) == int("parameters"))
    let names = config.linearModules.map(\.name)
    #expect(try names.count == int("linears"))
    #expect(try Array(names.prefix(7)) == test.required("first_linears").elements.map { try $0.string })
    #expect(try Array(names.suffix(11)) == test.required("last_linears").elements.map { try $0.string })
    #expect(config.startToken == 0 && config.positionLimit == nil && config.family.taskType == "SEQ_2_SEQ_LM")
  }

  /// Buckets of all distances from −400 to 400, of five numbers of them, in both directions and in one.
  @Test func buckets() throws {
    let distances = try Self.golden.required("distances").ints
    for table in try Self.golden.required("buckets").elements {
      let (count, far) = (try table.required("buckets").int, try table.required("distance").int)
      let both = try table.required("bidirectional").bool
      let found = (distances[0]...distances[1]).map {
        RelativePositionBias.bucket($0, isBidirectional: both, count: count, maxDistance: far)
      }
      #expect(try found == table.required("of").ints, "\(count) buckets to \(far)")
    }
  }

  /// What is not done is refused by name.
  @Test(
    arguments: [
      (#"{"model_type": "umt5"}"#, "umt5"), (#"{"model_type": "t5", "feed_forward_proj": "gelu"}"#, "\"gelu\""),
      (#"{"model_type": "t5", "feed_forward_proj": "gated-relu"}"#, "gated-relu"),
      (#"{"model_type": "t5", "architectures": ["T5EncoderModel"]}"#, "T5EncoderModel"),
      (#"{"model_type": "t5", "architectures": ["T5ForSequenceClassification"]}"#, "T5ForSequenceClassification"),
      (#"{"model_type": "t5", "d_model": 0}"#, "d_model"),
      (#"{"model_type": "t5", "d_model": 512, "hidden_size": 768}"#, "hidden_size"),
      (#"{"model_type": "t5", "num_heads": 65536, "d_kv": 8192}"#, "num_heads"),
      (#"{"model_type": "t5", "relative_attention_num_buckets": 2}"#, "relative_attention_num_buckets"),
      (#"{"model_type": "t5", "relative_attention_max_distance": 16}"#, "relative_attention_max_distance"),
      (#"{"model_type": "t5", "pad_token_id": null}"#, "pad_token_id"),
      (#"{"model_type": "t5", "decoder_start_token_id": 40000}"#, "decoder_start_token_id"),
      (#"{"model_type": "t5", "eos_token_id": -1}"#, "eos_token_id"),
      (#"{"model_type": "t5", "is_causal": false}"#, "is_causal"),
      (#"{"model_type": "t5", "is_encoder_decoder": false}"#, "is_encoder_decoder"),
      (#"{"model_type": "t5", "is_gated_act": true}"#, "is_gated_act"),
      (#"{"model_type": "t5", "feed_forward_proj": "gated-gelu", "dense_act_fn": "silu"}"#, "dense_act_fn"),
      (#"{"model_type": "t5", "feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu"}"#, "dense_act_fn"),
    ] as [(String, String)]) func refusedByName(_ text: String, _ word: String) throws
  {
    let error = try #require(#expect(throws: GoraError.self) { _ = try Self.read(text) })
    #expect(error.status == .data && error.problem.contains(word), "\(error.problem)")
  }

  /// Transformers 5 saves every T5 as tied, and beside it whether the output is scaled: T5Config's `scale_decoder_outputs`, which
  /// `T5ForConditionalGeneration.forward` goes by (5.23).
  @Test(arguments: [
    ("", "", true), ("true", "", true), ("false", "", false), ("", "false", false), ("true", "false", false),
    ("false", "true", true),
    ("true", "true", true), ("false", "false", false),
  ]) func scaledOutput(tie: String, scale: String, isScaled: Bool) throws {
    func members(_ type: String) -> String {
      "{\"model_type\": \"\(type)\"" + (tie.isEmpty ? "" : ", \"tie_word_embeddings\": \(tie)")
        + (scale.isEmpty ? "" : ", \"scale_decoder_outputs\": \(scale)") + "}"
    }
    #expect(try Self.read(members("t5")).scalesOutput == isScaled)
    #expect(try !Self.read(members("mt5")).scalesOutput)
    let saved = #"{"model_type": "t5", "feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu_new", "is_gated_act": true}"#
    #expect(try Self.read(saved).activation == .gated(.geluTanh))
  }

  /// That weights decide whether the head is the embedding is said, and so is dropout.
  @Test func notes() throws {
    #expect(try Self.read(#"{"model_type": "t5"}"#).notes == ["dropout_rate 0.1 of config.json is not applied"])
    let untied = try Self.model("v1.1-silu-scaled").config
    #expect(
      untied.notes.count == 1 && untied.notes[0].contains("lm_head.weight") && untied.scalesOutput && !untied.tiesEmbeddings)
    #expect(try Self.model("v1.1").config.notes.isEmpty && Self.model("v1.0").config.notes.isEmpty)
    let tied = try Self.model("v1.0").config
    #expect(tied.isSpare("lm_head.weight") && !untied.isSpare("lm_head.weight"))
    #expect(tied.isSpare("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"))
    #expect(!tied.isSpare("encoder.embed_tokens.weight"))
  }

  /// A new model's queries are small by √d more than its keys, so that their products need no factor.
  @Test func newModel() throws {
    let config = try Self.read(
      #"{"model_type": "t5", "d_model": 64, "d_kv": 16, "num_heads": 4, "d_ff": 128, "vocab_size": 500}"#)
    let model = try T5Model(config: config, from: RandomSource(seed: 1, initial: config.initialValues))
    func deviation(_ name: String) throws -> Double {
      let values = try #require(model.parameters.first { $0.name.hasSuffix(name) }?.values?.array)
      return (values.reduce(0) { $0 + Double($1 * $1) } / Double(values.count)).squareRoot()
    }
    // d 64, d_kv 16, inner 64, d_ff 128.
    let expected: [(String, Double)] = [
      ("shared.weight", 1), ("SelfAttention.q.weight", 0.03125), ("SelfAttention.k.weight", 0.125), ("o.weight", 0.125),
      ("wi.weight", 0.125), ("wo.weight", 0.08839), ("relative_attention_bias.weight", 0.125), ("final_layer_norm.weight", 1),
    ]
    for (name, value) in expected { #expect(abs(try deviation(name) / value - 1) < 0.15, "\(name)") }
  }

  /// A row that gives the encoder nothing ends the process before its attention divides by zero.
  @Test func nothingToRead() async {
    await #expect(processExitsWith: .exitCode(65)) {
      _ = try T5FixtureTests.model("v1.0").loss(
        PackedBatch(rows: [([0, 5], [-100, 5]), ([0, 5], [-100, 5])], sources: [[3], []]))
    }
    await #expect(processExitsWith: .exitCode(65)) {
      _ = try T5FixtureTests.model("v1.0").loss(PackedBatch(rows: [([0, 5, 6], [-100, 5, 6])]))
    }
    await #expect(processExitsWith: .exitCode(65)) {
      _ = try T5FixtureTests.model("v1.0").loss(PackedBatch(rows: [([0, 5], [-100, 5])], sources: [[3_000]]))
    }
  }
}
