import GoraCore
import GoraModels
import Testing

@testable import GoraTraining

/// A product that belongs to the weight is the same as another weight: forward, backward, and through training.
@Suite struct FrozenAdapterTests {
  init() { ThreadPool.start(threads: 2) }

  /// A module that the checkpoint has and no adapter runs beside is told from one that it has not.
  @Test func modulesWithoutAdapters() throws {
    let model = try Fixtures.adapted("llama").model
    func problem(_ module: String) throws -> String {
      try #require(throws: GoraError.self) { try model.attach(module: module, rank: 1, scaling: 1, a: [], b: []) }.problem
    }
    // Its head is the embedding.
    for module in ["model.embed_tokens", "lm_head"] {
      #expect(try problem(module) == "the adapter has module \"\(module)\", which gora runs no adapter beside")
    }
    #expect(try problem("model.absent") == "the adapter has module \"model.absent\", the model does not")
  }

  @Test func isAnotherWeight() throws {
    let rows = try Fixtures.rows("llama")
    let beside = try Fixtures.adapted("llama").model
    let within = try Fixtures.adapted("llama").model
    for (linear, other) in zip(beside.linears, within.linears) {
      let (rank, scaling) = (2, 1.5)
      var random = Random(seed: 1, stream: linear.name)
      let a = (0..<rank * linear.inputSize).map { _ in Float(0.2 * random.normal()) }
      let b = (0..<linear.outputSize * rank).map { _ in Float(0.2 * random.normal()) }
      try beside.attach(module: linear.name, rank: rank, scaling: scaling, a: a, b: b, isFrozen: true)
      other.weight.makeTrainable()
      other.weight.gradient = nil
      let values = try #require(other.weight.values)
      for i in 0..<linear.outputSize {
        for j in 0..<linear.inputSize {
          let product = (0..<rank).reduce(0.0) { $0 + Double(b[i * rank + $1]) * Double(a[$1 * linear.inputSize + j]) }
          values.pointer[i * linear.inputSize + j] += Float(scaling * product)
        }
      }
    }
    let losses = [beside, within].map { meanLoss($0, microBatches(rows, maxTokens: 8192)).loss }
    #expect(abs(losses[0] - losses[1]) < 1e-5 * losses[1])
    #expect(abs(losses[0] - meanLoss(try Fixtures.adapted("llama").model, microBatches(rows, maxTokens: 8192)).loss) > 1e-2)
    let trainers = [beside, within].map {
      trainer($0, $0.adapterParameters(ratio: 16), rows: rows, steps: 3, lr: 1e-3, weightDecay: 0)
    }
    for step in 0..<3 {
      let (one, other) = (try trainers[0].advance(), try trainers[1].advance())
      #expect(abs(one.loss - other.loss) < 1e-4 * other.loss)
      #expect(abs(one.gradientNorm - other.gradientNorm) < 1e-3 * other.gradientNorm)
      if step > 0 { continue }
      for ((x, _), (y, _)) in zip(beside.adapterParameters(ratio: 1), within.adapterParameters(ratio: 1)) {
        // Sums of both in another order, in binary32.
        #expect(relativeError(try #require(x.gradient).array, try #require(y.gradient).array) < 1e-4, "\(x.name)")
      }
    }
  }
}
