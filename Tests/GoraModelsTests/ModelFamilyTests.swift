import GoraCore
import GoraFormats
import Testing

@testable import GoraModels

@Suite struct ModelFamilyTests {
  /// A spelling belongs to one family, and its checkpoint opens as that.
  @Test(arguments: ["llama", "llama3", "qwen2", "mistral"]) func opens(_ name: String) throws {
    let names = ModelFamilies.all.flatMap { $0.types }
    #expect(Set(names).count == names.count)
    try Matmul.open()
    let folder = try ModelFolder(path: "\(Fixtures.folder)/\(name)/model")
    let (config, family) = (try DecoderConfig(of: folder), try folder.family)
    #expect(config.family.types.contains(config.modelType) && config.family == family)
    let model = try config.model(from: CheckpointSource(folder: folder, precision: .f32))
    #expect((model as? Decoder)?.config == config && family.taskType == "CAUSAL_LM")
    // What is planned from config.json alone is what the model gives adapters: no head, no embeddings.
    #expect(model.blocks.count == config.layers && model.blocks.allSatisfy { $0.count == 7 })
    #expect(model.linears.map(\.name) == config.linearModules.map(\.name))
    #expect(model.linears.map { [$0.outputSize, $0.inputSize] } == config.linearModules.map(\.shape))
    #expect(!model.linears.contains { $0.name.contains("embed") || $0.name.contains("lm_head") })
  }
}
