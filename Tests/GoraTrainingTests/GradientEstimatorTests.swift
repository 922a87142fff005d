import GoraCore
import GoraFormats
import GoraModels
import GoraText
import GoraTraining
import Testing

@Suite struct GradientEstimatorTests {
  init() { ThreadPool.start(threads: 2) }

  static let names = ["q_proj", "k_proj", "v_proj", "o_proj"]
  static func targets(_ model: Decoder) -> [Linear] {
    model.linears.filter { linear in names.contains { linear.name.hasSuffix($0) } }
  }

  static func estimator(
    _ model: Decoder, _ settings: GradientEstimator.Settings = .init(microBatchTokens: 8192), scratch: ScratchFile? = nil
  ) throws -> GradientEstimator {
    try GradientEstimator(model: model, targets: targets(model), settings: settings, scratch: scratch)
  }

  static func means(_ estimator: GradientEstimator) -> [[Float]] {
    estimator.sums.map { sum in sum.array.map { $0 / Float(estimator.done) } }
  }

  /// PyTorch's mean over micro-batches of one row.
  @Test(arguments: [1, 8192]) func meanGradient(_ microBatchTokens: Int) throws {
    let model = try Fixtures.model("llama")
    let expected = try Fixtures.tensors("llama/gora_gradient.safetensors")
    let rows = try Fixtures.rows("llama")
    let estimator = try Self.estimator(model, .init(microBatchTokens: microBatchTokens))
    let losses = try Fixtures.json("llama/golden.json").required("row_losses").elements.map { try $0.double }
    for (row, loss) in zip(rows, losses) {
      let step = try estimator.add([row])
      #expect(abs(step.loss - loss) < 1e-4)
      #expect(step.rows == 1 && step.tokens == row.ids.count && step.tracked == nil)
    }
    #expect(estimator.targets.count == expected.count)
    for (linear, mean) in zip(estimator.targets, Self.means(estimator)) {
      #expect(relativeError(mean, try #require(expected[linear.weight.name])) < 2e-4, "\(linear.name)")
    }
  }

  /// PyTorch's mean of each row's squared gradient (Fixtures/squares), for micro-batches of one row; the sums stay what they
  /// are without.
  @Test(arguments: [(16, false), (8192, true)]) func squares(_ microBatchTokens: Int, runsWhole: Bool) throws {
    let rows = try Fixtures.rows("llama")
    let expected = try Fixtures.tensors("squares/golden.safetensors")
    let estimator = try Self.estimator(
      try Fixtures.model("llama"), .init(microBatchTokens: microBatchTokens, runsWhole: runsWhole, keepsSquares: true))
    let plain = try Self.estimator(try Fixtures.model("llama"), .init(microBatchTokens: microBatchTokens))
    for row in rows {
      _ = try estimator.add([row])
      _ = try plain.add([row])
    }
    #expect(plain.squares.isEmpty && expected.count == 2)
    for (linear, sum) in zip(estimator.targets, estimator.squares) {
      guard let golden = expected[linear.weight.name] else { continue }
      #expect(relativeError(sum.array.map { $0 / Float(estimator.done) }, golden) < 2e-4, "\(linear.name)")
    }
    for (a, b) in zip(estimator.sums, plain.sums) { #expect(relativeError(a.array, b.array) < 1e-5) }
    // A batch of two rows, cut or whole, is squared after the two are added.
    let pair = try Self.estimator(
      try Fixtures.model("llama"), .init(microBatchTokens: microBatchTokens, runsWhole: runsWhole, keepsSquares: true))
    _ = try pair.add(Array(rows[2...3]))
    for (sum, squares) in zip(pair.sums, pair.squares) {
      #expect(relativeError(squares.array, sum.array.map { $0 * $0 }) < 1e-6)
    }
  }

  /// After each step the importance is that of the mean so far: a run may end after any step.
  @Test func runningImportance() throws {
    let rows = try Fixtures.rows("llama")
    let model = try Fixtures.model("llama")
    let estimator = try Self.estimator(model)
    for done in 1...3 {
      let step = try estimator.add(Array(rows[2 * done - 2..<2 * done]))
      let again = try Self.estimator(try Fixtures.model("llama"))
      for i in 1...done { _ = try again.add(Array(rows[2 * i - 2..<2 * i])) }
      #expect(step.importance.count == again.targets.count)
      for ((importance, linear), gradient) in zip(zip(step.importance, again.targets), Self.means(again)) {
        let weights = UnsafeBufferPointer(start: linear.weight.floats, count: linear.weight.count)
        let mean = zip(weights, gradient).reduce(0.0) { $0 + abs(Double($1.0) * Double($1.1)) } / Double(gradient.count)
        #expect(abs(importance - mean) < 1e-5 * mean, "\(linear.name), step \(done)")
      }
    }
  }

  /// Where the sums lie changes no bit of them, and none of the importances.
  @Test func scratchFileChangesNothing() throws {
    let rows = try Fixtures.rows("llama")
    var results: [([[Float]], [[Double]])] = []
    for scratch in [nil, try ScratchFile(folder: Fixtures.temporaryFolder)] {
      let settings = GradientEstimator.Settings(
        microBatchTokens: 16, exploration: Exploration(rule: .adalomo, rate: 1e-3), trackEvery: 2)
      let estimator = try Self.estimator(try Fixtures.model("llama"), settings, scratch: scratch)
      var importances: [[Double]] = []
      for row in rows {
        let step = try estimator.add([row])
        importances += [step.importance, step.tracked ?? []]
      }
      results.append((estimator.sums.map(\.array), importances))
    }
    #expect(results[0].0 == results[1].0 && results[0].1 == results[1].1)
  }

  /// GoRA-pro against a plain loop: each step's gradient from a model of its own whose targets a float64 reference has moved.
  @Test(arguments: Exploration.Rule.allCases, [false, true]) func exploration(_ rule: Exploration.Rule, runsWhole: Bool) throws {
    let rows = try Fixtures.rows("llama").prefix(4)
    let rate = rule == .adalomo ? 1e-2 : 1
    let model = try Fixtures.model("llama")
    let before = model.parameters.map(Self.bits)
    do {
      let estimator = try Self.estimator(
        model,
        .init(
          microBatchTokens: 8192, runsWhole: runsWhole, exploration: Exploration(rule: rule, rate: rate)))

      let other = try Fixtures.model("llama")
      let targets = Self.targets(other)
      for target in targets { target.weight.makeTrainable() }
      let originals = targets.map { $0.weight.values?.array ?? [] }
      var references = targets.map { ReferenceAdaLomo(rows: $0.outputSize, columns: $0.inputSize) }
      var sums = targets.map { [Double](repeating: 0, count: $0.weight.count) }
      var losses: [Double] = []
      for (done, row) in rows.enumerated() {
        let step = try estimator.add([row])
        losses.append(step.loss)
        let batch = PackedBatch(rows: [(row.ids, row.labels)])
        for target in targets { target.weight.gradient?.zero() }
        let loss = other.accumulateGradient(batch, scale: 1 / Float(batch.targets.count)) / Double(batch.targets.count)
        #expect(abs(step.loss - loss) < 1e-5 * loss)
        for (i, target) in targets.enumerated() {
          let gradient = try #require(target.weight.gradient).array
          let values = try #require(target.weight.values)
          for j in gradient.indices { sums[i][j] += Double(gradient[j]) }
          var moved = values.array.map(Double.init)
          if rule == .adalomo {
            references[i].update(&moved, gradient: gradient.map(Double.init), rate: rate)
          } else {
            for j in moved.indices { moved[j] -= rate * Double(gradient[j]) }
          }
          for j in moved.indices { values.pointer[j] = Float(moved[j]) }
          // Importance: of the original weight and the mean gradient.
          let importance =
            zip(originals[i], sums[i]).reduce(0) { $0 + abs(Double($1.0) * $1.1) } / Double(moved.count * (done + 1))
          #expect(abs(step.importance[i] - importance) < 1e-4 * importance, "\(target.name), step \(done + 1)")
        }
      }
      for (sum, expected) in zip(estimator.sums, sums) { #expect(relativeError(sum.array, expected.map(Float.init)) < 1e-4) }
      // The weights did move: the first step is taken where they stood, the others are not.
      let still = try Self.estimator(try Fixtures.model("llama"))
      let stillLosses = try rows.map { try still.add([$0]).loss }
      #expect(abs(losses[0] - stillLosses[0]) < 1e-6)
      #expect(zip(losses, stillLosses).dropFirst().allSatisfy { abs($0 - $1) > 1e-3 })
      #expect(Self.targets(model).allSatisfy { $0.weight.gradient != nil && $0.weight.values != nil })
    }
    // The estimator is gone, and every weight is what it was, bit for bit, where it was.
    #expect(model.parameters.map(Self.bits) == before)
    #expect(Self.targets(model).allSatisfy { $0.weight.gradient == nil && $0.weight.values == nil })
  }

  /// Windows of K steps: the importance of the window's mean gradient, here at weights that stay.
  @Test(arguments: [1, 2, 4], [16, 8192]) func tracking(_ length: Int, microBatchTokens: Int) throws {
    let rows = try Fixtures.rows("llama")
    let model = try Fixtures.model("llama")
    let estimator = try Self.estimator(
      model, .init(microBatchTokens: microBatchTokens, runsWhole: microBatchTokens == 8192, trackEvery: length))
    for first in stride(from: 0, to: rows.count, by: length) {
      let window = rows[first..<min(rows.count, first + length)]
      let single = try Self.estimator(try Fixtures.model("llama"))
      var last: GradientEstimator.Step?
      for row in window {
        #expect(last?.tracked == nil)
        last = try estimator.add([row])
        _ = try single.add([row])
      }
      guard window.count == length else {
        #expect(last?.tracked == nil, "only whole windows count")
        continue
      }
      let tracked = try #require(last?.tracked)
      for ((value, linear), gradient) in zip(zip(tracked, single.targets), Self.means(single)) {
        let weights = UnsafeBufferPointer(start: linear.weight.floats, count: linear.weight.count)
        let mean = zip(weights, gradient).reduce(0.0) { $0 + abs(Double($1.0) * Double($1.1)) } / Double(gradient.count)
        #expect(abs(value - mean) < 1e-4 * mean, "\(linear.name)")
      }
    }
    // The mean gradient is the one without tracking, but for the order of f32 sums.
    let plain = try Self.estimator(try Fixtures.model("llama"))
    for row in rows { _ = try plain.add([row]) }
    for (a, b) in zip(estimator.sums, plain.sums) { #expect(relativeError(a.array, b.array) < 1e-5) }
  }

  @Test func nonFiniteLossIsRefused() throws {
    let model = try Fixtures.model("llama")
    let norm = try #require(model.parameters.first { $0.name == "model.norm.weight" })
    try #require(norm.values).pointer[0] = .nan
    let estimator = try Self.estimator(model)
    let error = #expect(throws: GoraError.self) { try estimator.add(try Fixtures.rows("llama")) }
    #expect(error?.status == .negative)
  }

  /// The loss may be finite where a gradient is not: the micro-batch that made it is named, with the weight and the rows.
  @Test func nonFiniteGradientIsRefused() throws {
    let rows = try Fixtures.rows("llama")
    let estimator = try Self.estimator(try Fixtures.model("llama"))
    _ = try estimator.add([rows[0]])
    estimator.sums[1].pointer[3] = .infinity
    var row = rows[1]
    row.place = .text("rows.jsonl", line: 2, column: 1)
    let error = #expect(throws: GoraError.self) { try estimator.add([row]) }
    #expect(error?.status == .negative)
    let text = "\(error?.description ?? "") \(error?.hint ?? "")"
    for word in ["micro-batch 2", estimator.targets[1].weight.name, "rows.jsonl:2"] { #expect(text.contains(word), "\(text)") }
  }

  private static func bits(_ parameter: Parameter) -> [UInt32] {
    let matrix = parameter.matrix
    var values = [Float](repeating: 0, count: parameter.count)
    matrix.widen(0..<matrix.rows, into: &values)
    return values.map(\.bitPattern)
  }
}

extension Parameter {
  /// The floats of a weight that lies in f32.
  fileprivate var floats: UnsafePointer<Float> {
    guard case .f32(let pointer) = matrix.storage else { preconditionFailure("\(name) is not held in f32") }
    return pointer
  }
}
