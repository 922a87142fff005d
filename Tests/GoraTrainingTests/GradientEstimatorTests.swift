import GoraCore
import GoraModels
import GoraText
import GoraTraining
import Testing

@Suite struct GradientEstimatorTests {
  init() { ThreadPool.start(threads: 2) }

  static let names = ["q_proj", "k_proj", "v_proj", "o_proj"]
  static func targets(_ model: Llama) -> [Linear] {
    model.linears.filter { linear in names.contains { linear.name.hasSuffix($0) } }
  }

  /// PyTorch's mean over micro-batches of one row.
  @Test(arguments: [1, 8192]) func meanGradient(_ microBatchTokens: Int) throws {
    let model = try Fixtures.model("llama")
    let expected = try Fixtures.tensors("llama/gora_gradient.safetensors")
    let rows = try Fixtures.rows("llama")
    let estimator = GradientEstimator(
      model: model, targets: Self.targets(model), steps: rows.count, microBatchTokens: microBatchTokens)
    let losses = try Fixtures.json("llama/golden.json").required("row_losses").elements.map { try $0.double }
    for (row, loss) in zip(rows, losses) {
      let step = try estimator.add([row])
      #expect(abs(step.loss - loss) < 1e-4)
      #expect(step.rows == 1 && step.tokens == row.ids.count)
    }
    #expect(estimator.targets.count == expected.count)
    for linear in estimator.targets {
      let gradient = try #require(linear.weight.gradient).array
      #expect(relativeError(gradient, try #require(expected[linear.weight.name])) < 2e-4, "\(linear.name)")
    }
  }

  /// After each step the importance is that of the mean so far, as computed anew by a run of just so many steps.
  @Test func runningImportance() throws {
    let rows = try Fixtures.rows("llama")
    let model = try Fixtures.model("llama")
    let estimator = GradientEstimator(model: model, targets: Self.targets(model), steps: 3, microBatchTokens: 8192)
    for done in 1...3 {
      let step = try estimator.add(Array(rows[2 * done - 2..<2 * done]))
      let other = try Fixtures.model("llama")
      let again = GradientEstimator(model: other, targets: Self.targets(other), steps: done, microBatchTokens: 8192)
      for i in 1...done { _ = try again.add(Array(rows[2 * i - 2..<2 * i])) }
      #expect(step.importance.count == again.targets.count)
      for (importance, linear) in zip(step.importance, again.targets) {
        let weights = UnsafeBufferPointer(start: linear.weight.floats, count: linear.weight.count)
        let gradient = try #require(linear.weight.gradient).array
        let mean = zip(weights, gradient).reduce(0.0) { $0 + abs(Double($1.0) * Double($1.1)) } / Double(gradient.count)
        #expect(abs(importance - mean) < 1e-5 * mean, "\(linear.name), step \(done)")
      }
    }
  }

  @Test func nonFiniteLossIsRefused() throws {
    let model = try Fixtures.model("llama")
    let norm = try #require(model.parameters.first { $0.name == "model.norm.weight" })
    try #require(norm.values).pointer[0] = .nan
    let estimator = GradientEstimator(model: model, targets: Self.targets(model), steps: 2, microBatchTokens: 8192)
    let error = #expect(throws: GoraError.self) { try estimator.add(try Fixtures.rows("llama")) }
    #expect(error?.status == .negative)
  }
}

extension Parameter {
  /// The floats of a weight that lies in f32.
  fileprivate var floats: UnsafePointer<Float> {
    guard case .f32(let pointer) = matrix.storage else { preconditionFailure("\(name) is not held in f32") }
    return pointer
  }
}
