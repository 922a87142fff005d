import GoraCore
import GoraFormats
import GoraImages
import GoraTraining
import Testing

@testable import GoraModels

/// Two tiny CLIP models beside Transformers in float64 (Fixtures/clip/make_fixtures.py), on real images from their files.
@Suite(.serialized) struct CLIPFixtureTests {
  static let cases = ["quick", "exact"]

  init() throws {
    try Matmul.open()
    ThreadPool.start(threads: 2)
  }

  private static func model(_ name: String, _ precision: Precision = .f32) throws -> CLIPModel {
    let folder = try ModelFolder(path: "\(Fixtures.folder)/clip/\(name)")
    let config = try #require(try ModelFamilies.config(of: folder) as? CLIPConfig)
    let model = try CLIPModel(config: config, from: CheckpointSource(folder: folder, precision: precision))
    model.setClasses(
      try Fixtures.golden("clip").required(name).required("texts").elements.map { group in
        try group.elements.map { try $0.ints.map(Int32.init) }
      })
    return model
  }

  /// The images with their classes, as the processor of the script leaves them.
  private static func batch(for model: CLIPModel) throws -> PackedBatch {
    let golden = try Fixtures.golden("clip")
    let side = model.config.imageSize
    let processor = ImageProcessor(side: side)
    let names = try golden.required("images").elements.map { try $0.string }
    let store = PixelStore(
      width: side, height: side, values: processor.values, tokens: model.config.tokensPerImage,
      buffer: FloatBuffer(capacity: PixelStore.floats(images: names.count, width: side, height: side)))
    for (index, name) in names.enumerated() {
      let image = try processor.pixels(of: ImageFile.read("\(Fixtures.folder)/images/\(name)"), path: name)
      store.pixels(index).update(from: image.pixels, count: store.byteCount)
    }
    let labels = try golden.required("labels").ints
    return PackedBatch(images: labels.enumerated().map { (ImageInput(store, $0), Int32($1)) })
  }

  /// f32 against float64: some 1e-6; a wrong pooled token, norm, function or left-over pixel moves these by 1e-2 or more.
  @Test(arguments: cases) func logitsAndLoss(_ name: String) throws {
    let model = try Self.model(name)
    let batch = try Self.batch(for: model)
    let golden = try Fixtures.golden("clip").required(name)
    #expect(try model.config.parameterCount == golden.required("parameters").int)
    #expect(model.parameters.reduce(0) { $0 + $1.count } == model.config.parameterCount)
    let expected = try #require(try Fixtures.tensors("clip/golden.safetensors")["\(name)/logits"])
    #expect(relativeError(model.logits(batch), expected) < 2e-5)
    #expect(abs(model.loss(batch) / 4 - (try golden.required("loss").double)) < 2e-5)
    // One by one they are what they are together.
    var each: [Double] = []
    _ = model.loss(batch) { each.append($1) }
    for (index, image) in batch.images.enumerated() {
      #expect(abs(model.loss(PackedBatch(images: [(image, batch.targets[index].label)])) - each[index]) < 1e-5)
    }
  }

  /// All of the vision tower, with activations kept and made again, by one thread and by more than there are heads.
  @Test(arguments: cases, [(1, false), (2, true), (7, false)]) func gradients(
    _ name: String, _ run: (threads: Int, recomputes: Bool)
  )
    throws
  {
    let model = try Self.model(name)
    model.recomputesActivations = run.recomputes
    ThreadPool.start(threads: run.threads)
    let batch = try Self.batch(for: model)
    let expected = try Fixtures.tensors("clip/golden.safetensors")
    for parameter in model.learnable { parameter.makeTrainable() }
    _ = model.accumulateGradient(batch, scale: 1 / 4)
    #expect(expected.keys.count { $0.hasPrefix("\(name)/gradient/") } == model.learnable.count)
    for parameter in model.learnable {
      let exact = try #require(expected["\(name)/gradient/\(parameter.name)"], "\(parameter.name)")
      if parameter.name.hasSuffix("k_proj.bias") {
        // The same number on every score of a query changes no weight: the gradient is 0.
        #expect(parameter.gradient!.array.allSatisfy { abs($0) < 1e-6 }, "\(parameter.name)")
      } else {
        #expect(relativeError(parameter.gradient!.array, exact) < 2e-4, "\(parameter.name)")
      }
    }
  }

  /// In bf16 each product rounds its inputs to 8 bits: some 2⁻⁹ a product. Recomputed or kept are the same bits.
  @Test(arguments: cases) func bf16(_ name: String) throws {
    func run(_ precision: Precision, recomputes: Bool) throws -> (loss: Double, gradients: [[Float]]) {
      let model = try Self.model(name, precision)
      model.recomputesActivations = recomputes
      for linear in model.linears { linear.weight.gradient = FloatBuffer(zeros: linear.weight.count) }
      let loss = model.accumulateGradient(try Self.batch(for: model), scale: 1 / 4)
      return (loss, model.linears.map { $0.weight.gradient!.array })
    }
    let (kept, again, single) = (
      try run(.bf16, recomputes: false), try run(.bf16, recomputes: true), try run(.f32, recomputes: false)
    )
    #expect(kept.loss == again.loss && kept.gradients == again.gradients)
    #expect(abs(kept.loss - single.loss) < 0.02 * single.loss)
    for (a, b) in zip(kept.gradients, single.gradients) {
      let error = relativeError(a, b)
      #expect(error > 0 && error < 0.15, "\(error)")
    }
  }

  /// PEFT's adapters beside CLIPModel, and beside a vision model alone, whose names lack the tower's.
  @Test(arguments: ["adapter", "adapter-bare"]) func adapters(_ folder: String) throws {
    let model = try Self.model("quick")
    let adapter = try Adapter(readingFolder: "\(Fixtures.folder)/clip/quick/\(folder)").folded
    for module in adapter.modules {
      try model.attach(module: module.name, rank: module.rank, scaling: module.scaling, a: module.a, b: module.b)
    }
    #expect(model.adapters.count == 2 * 4)
    let expected = try #require(try Fixtures.tensors("clip/golden.safetensors")["quick/adapted"])
    #expect(relativeError(model.logits(try Self.batch(for: model)), expected) < 2e-5)
  }

  @Test func linearModulesAreTheVisionTowers() throws {
    let model = try Self.model("exact")
    #expect(model.linears.map(\.name) == model.config.linearModules.map(\.name))
    #expect(model.linears.map(\.weight.shape) == model.config.linearModules.map(\.shape))
    #expect(model.linears[5].name == "vision_model.encoder.layers.0.mlp.fc2")
  }

  @Test func defaultsAreTransformers() throws {
    let text = #"{"model_type": "clip", "text_config": {"hidden_size": 64}, "text_config_dict": {"eos_token_id": 2}}"#
    let config = try CLIPConfig(reading: JSONDocument(path: "config.json", text: Array(text.utf8)).root)
    #expect(
      config.vision.hiddenSize == 768 && config.vision.layers == 12 && config.patchSize == 32 && config.tokensPerImage == 50)
    #expect(config.text.hiddenSize == 512 && config.textPositions == 77 && config.largestIdPools && config.projectionSize == 512)
    // openai/clip-vit-base-patch32, as Transformers counts it.
    #expect(config.parameterCount == 151_277_313)
  }

  @Test(
    arguments: [
      (#"{"vision_config": {"hidden_act": "relu"}}"#, "\"relu\" is not supported; expected \"quick_gelu\" or \"gelu\""),
      (#"{"vision_config": {"num_channels": 1}}"#, "\"num_channels\" is 1; expected 3"),
      (#"{"vision_config": {"image_size": [224, 224]}}"#, "\"image_size\" must be an integer"),
      (#"{"vision_config": {"patch_size": 225}}"#, "patch_size 225 is more than image_size 224"),
      (#"{"text_config": {"eos_token_id": [1, 2]}}"#, "\"eos_token_id\" must be an integer"),
      (#"{"text_config": {"num_attention_heads": 7}}"#, "hidden_size 512 is not a multiple of num_attention_heads 7"),
      (#"{"architectures": ["CLIPForImageClassification"]}"#, "\"CLIPForImageClassification\" is not supported for clip"),
      (#"{"quantization_config": {}}"#, "the weights are quantised"),
    ]) func whatIsNotDoneIsRefused(_ text: String, _ problem: String)
  {
    let error = #expect(throws: GoraError.self) {
      try CLIPConfig(reading: JSONDocument(path: "config.json", text: Array(text.utf8)).root)
    }
    #expect(error?.status == .data && "\(error!)".contains(problem), "\(error!)")
  }
}
