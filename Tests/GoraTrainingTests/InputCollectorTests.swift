import GoraCore
import GoraFormats
import GoraModels
import GoraText
import Testing

@testable import GoraTraining

/// Components of inputs beside PEFT's own (Fixtures/eva/make_fixtures.py).
@Suite struct InputCollectorTests {
  init() { ThreadPool.start(threads: 2) }

  private static func collected(
    _ rows: [EncodedRow], batch: Int = 2, components: Int = 8, gradients: Bool = true, recomputes: Bool = false,
    microBatchTokens: Int = 8192, model: Decoder? = nil
  ) throws -> InputCollector {
    let model = try model ?? Fixtures.model("llama")
    model.recomputesActivations = recomputes
    let collector = InputCollector(model: model, targets: model.linears, components: components, seed: 0)
    let estimator = try GradientEstimator(
      model: model, targets: gradients ? model.linears : [], settings: .init(microBatchTokens: microBatchTokens),
      inputs: collector)
    for start in stride(from: 0, to: rows.count, by: batch) {
      _ = try estimator.add(Array(rows[start..<min(rows.count, start + batch)]))
    }
    try collector.finish()
    return collector
  }

  private static func rows() throws -> [EncodedRow] {
    try String(decoding: readWholeFile("\(Fixtures.folder)/eva/rows.jsonl"), as: UTF8.self).split(separator: "\n").map { line in
      let root = try JSONDocument(path: "rows", text: Array(line.utf8)).root
      return EncodedRow(
        ids: try root.required("input_ids").ints.map { Int32($0) }, labels: try root.required("labels").ints.map { Int32($0) })
    }
  }

  /// Ratios to 1e-5 of the whole decomposition in float64, whose last digits f32 loses (3e-7 here), and to 1e-4 of PEFT's randomised one, which
  /// is itself 4.5e-5 away from the whole. Directions to what their neighbours leave: 1e-3 in the cosine.
  @Test func ratiosAndComponentsArePEFTs() throws {
    let collector = try Self.collected(try Self.rows())
    let golden = try Fixtures.json("eva/golden.json")
    let tensors = try Fixtures.tensors("eva/golden.safetensors")
    #expect(collector.groups.count == 8 && collector.groups.map(\.linears.count) == [3, 1, 2, 1, 3, 1, 2, 1])
    for (source, tolerance) in [("exact", 1e-5), ("peft", 1e-4)] {
      for (name, field) in try golden.required("\(source)_ratios").members {
        let group = try #require(collector.groups.first { $0.linears[0].name == name })
        let analysis = group.analysis
        #expect(analysis.samples == (try golden.required("tokens").int))
        let expected = try field.elements.map { field throws(GoraError) in try field.double }
        #expect(analysis.explainedVarianceRatio.count == expected.count)
        for (i, ratio) in expected.enumerated() {
          #expect(abs(analysis.explainedVarianceRatio[i] - ratio) < tolerance, "\(source) \(name) \(i)")
        }
        guard source == "exact" else { continue }
        let components = try #require(tensors["exact/\(name)"])
        for i in expected.indices {
          let range = i * analysis.inputSize..<(i + 1) * analysis.inputSize
          let product = range.reduce(0.0) { $0 + Double(components[$1]) * Double(analysis.components[$1]) }
          #expect(product > 0.999, "\(name) \(i): \(product)")
        }
      }
    }
  }

  /// Neither gradients nor recomputation change what is seen, and it is seen once.
  @Test(arguments: [(false, false), (true, true)]) func oneLookABatch(_ gradients: Bool, _ recomputes: Bool) throws {
    let rows = try Self.rows()
    let plain = try Self.collected(rows)
    let other = try Self.collected(rows, gradients: gradients, recomputes: recomputes)
    for (a, b) in zip(plain.groups, other.groups) {
      #expect(a.analysis.samples == b.analysis.samples && a.analysis.components == b.analysis.components)
    }
  }

  /// Batches with fewer labelled tokens than components wait, and none is lost.
  @Test func fewTokensWait() throws {
    let rows = try Fixtures.rows("llama")
    let labelled = rows.reduce(0) { $0 + $1.labels.count { $0 != -100 } }
    let collector = try Self.collected(rows, batch: 1, components: 12)
    #expect(rows.contains { $0.labels.count { $0 != -100 } < 12 })
    #expect(collector.groups.allSatisfy { $0.analysis.samples == labelled && $0.analysis.count == 12 })
    // Inputs of 32 have no more components.
    #expect(try Self.collected(rows, batch: 6, components: 40).groups.map(\.analysis.count).prefix(4) == [32, 32, 32, 40])
    let error = #expect(throws: GoraError.self) { try Self.collected(Array(rows[1...1]), components: 4) }
    #expect(error?.status == .data && error?.problem.contains("1 labelled tokens") == true)
  }

  /// Nothing looks on when the collector is gone.
  @Test func observersGo() throws {
    let model = try Fixtures.model("llama")
    do {
      let collector = try Self.collected(try Self.rows(), model: model)
      #expect(model.linears.count { $0.inputObserver != nil } == collector.groups.count)
    }
    #expect(model.linears.allSatisfy { $0.inputObserver == nil })
  }
}
