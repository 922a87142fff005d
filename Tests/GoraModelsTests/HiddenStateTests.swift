import CGoraKernels
import GoraCore
import GoraFormats
import Testing

@testable import GoraModels

/// The residual stream after the embedding, each layer and the final norm, beside PyTorch's.
@Suite struct HiddenStateTests {
  @Test(arguments: LlamaGoldenTests.models + ["llama-bf16"]) func residualStream(_ name: String) throws {
    try Matmul.open()
    let model = try Fixtures.model(name)
    let expected = try Fixtures.tensors("\(name)/golden.safetensors")
    let config = model.config
    let batch = PackedBatch(rows: [try Fixtures.rows(name)[0]])
    let count = batch.tokens * config.hiddenSize
    let rotary = RotaryTable(config.rotary, headSize: config.headSize)
    rotary.prepare(positions: batch.positions, starts: batch.starts)
    let x = FloatBuffer(zeros: count)
    for (t, id) in batch.ids.enumerated() {
      model.embedding.matrix.widen(Int(id)..<Int(id) + 1, into: x.pointer + t * config.hiddenSize)
    }
    #expect(relativeError(x.array, try #require(expected["hidden/embedding"])) < 1e-7)
    let (scratch, workspace) = (LayerScratch(), Workspace())
    for (index, layer) in model.layers.enumerated() {
      let activations = ActivationStore().buffers(slot: 0, .whole, layer.kept, tokens: batch.tokens)
      activations[.input].update(from: x.pointer, count: count)
      layer.forward(
        activations, batch: batch, rotary: rotary, scratch: scratch, workspace: workspace, output: x.pointer)
      #expect(relativeError(x.array, try #require(expected["hidden/layer.\(index)"])) < 2e-5, "layer \(index)")
    }
    let norm = try #require(model.parameters.first { $0.name == "model.norm.weight" })
    let out = FloatBuffer(zeros: count)
    gora_rms_norm(
      x.pointer, norm.vector, config.normOffset, out.pointer, nil, batch.tokens, config.hiddenSize, config.normEpsilon)
    #expect(relativeError(out.array, try #require(expected["hidden/norm"])) < 2e-5)
  }

  /// Rows packed end to end do not see each other.
  @Test(arguments: LlamaGoldenTests.models) func packedRowsEqualRowsAlone(_ name: String) throws {
    try Matmul.open()
    let model = try Fixtures.model(name)
    let rows = try Fixtures.rows(name)
    let packed = model.logits(PackedBatch(rows: rows))
    let alone = rows.flatMap { model.logits(PackedBatch(rows: [$0])) }
    #expect(relativeError(packed, alone) < 1e-6)
    let loss = model.loss(PackedBatch(rows: rows))
    let sum = rows.reduce(0) { $0 + model.loss(PackedBatch(rows: [$1])) }
    #expect(abs(loss - sum) < 1e-5 * sum)
  }

  /// The shift of Hugging Face's labels: position i is predicted at i − 1, the first label never counts.
  @Test func packing() {
    let batch = PackedBatch(rows: [([5, 6, 7], [5, -100, 7]), ([8], [8]), ([9, 1], [9, 1])])
    #expect(batch.ids == [5, 6, 7, 8, 9, 1])
    #expect(batch.positions == [0, 1, 2, 0, 0, 1])
    #expect(batch.starts == [0, 3, 4, 6])
    #expect(batch.targets.map(\.token) == [1, 4] && batch.targets.map(\.label) == [7, 1])
  }
}
