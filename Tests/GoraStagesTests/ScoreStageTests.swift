import GoraCore
import GoraFormats
import GoraModels
import GoraMethods
import GoraStages
import Testing

@Suite struct ScoreStageTests {
  @Test func scoresAreTheMeanOfWeightTimesGradient() throws {
    let toy = try ToyCheckpoint()
    let summary = try toy.score(metric: .sensitivity)
    let table = try ScoreTable(reading: toy.document(try #require(summary.output)))
    #expect(table.model == (try ModelIdentity(of: ModelFolder(path: toy.model)).text))
    #expect(table.modules.map(\.name) == toy.shapes.map(\.name))
    for module in table.modules {
      let w = toy.weight(module.name)
      let g = toy.gradient(module.name)
      let expected = zip(w, g).reduce(0) { $0 + abs(Double($1.0) * Double($1.1)) } / Double(w.count)
      #expect(abs(module.importance / expected - 1) < 1e-12)
    }
    #expect(abs(table.modules.reduce(0) { $0 + $1.advantage } - 1) < 1e-12)
  }

  /// The same bytes whether whole decompositions run one by one or side by side, in every dtype of the weights.
  @Test(arguments: [DType.f32, .bf16, .f16]) func everyMetricScores(_ dtype: DType) throws {
    ThreadPool.start(threads: 2)
    let toy = try ToyCheckpoint(dtype: dtype)
    for metric in ImportanceMetric.allCases where metric.evidence == .gradient {
      let advantage = try Advantage(.softmax)
      let text = try #require(try toy.score(MetricBlend(metric), advantage).output)
      let table = try ScoreTable(reading: toy.document(text))
      #expect(table.metric == metric.rawValue && table.normalisation == "softmax" && table.temperature == 0.5)
      #expect((table.svdRank == 32) == metric.estimates)
      #expect(table.modules.map(\.name) == toy.shapes.map(\.name))
      let largest = try #require(table.modules.max { $0.importance < $1.importance })
      #expect(table.modules.allSatisfy { $0.advantage <= largest.advantage && $0.parts.isEmpty })
      #expect(abs(table.modules.reduce(0) { $0 + $1.advantage } - 1) < 1e-12)
      #expect(try toy.score(MetricBlend(metric), advantage).output == text)
    }
  }

  @Test func aBlendKeepsItsParts() throws {
    let toy = try ToyCheckpoint()
    func table(_ name: String) throws -> ScoreTable {
      let metric = try #require(MetricBlend(name))
      return try ScoreTable(reading: toy.document(try #require(try toy.score(metric).output)))
    }
    let blend = try table("sensitivity+gradient-frobenius")
    let (one, other) = (try table("sensitivity"), try table("gradient-frobenius"))
    for (i, module) in blend.modules.enumerated() {
      #expect(module.parts == [one.modules[i].importance, other.modules[i].importance])
      #expect(abs(module.advantage - (one.modules[i].advantage + other.modules[i].advantage) / 2) < 1e-15)
      #expect(module.importance == module.advantage)
    }
  }

  @Test func entropiesBelowZeroAskForASoftmax() throws {
    let toy = try ToyCheckpoint()
    #expect { try toy.score(metric: .gradientEntropy) } throws: {
      let error = $0 as? GoraError
      return error?.status == .data && error?.location == .file(toy.gradients) && error?.hint?.contains("softmax") == true
    }
  }

  @Test func gradientsOfAnotherModelAreRefused() throws {
    let toy = try ToyCheckpoint()
    let other = try ToyCheckpoint(seed: 1)
    #expect {
      try ScoreStage(
        ScoreStage.Configuration(
          model: other.model, gradients: toy.gradients, metric: MetricBlend(.gradientMean), output: .standardOutput,
          dryRun: false,
          context: toy.context)
      ).run { _ in }
    } throws: {
      ($0 as? GoraError)?.status == .data
    }
  }

  @Test func aDryRunWritesNothing() throws {
    let toy = try ToyCheckpoint()
    let summary = try ScoreStage(
      ScoreStage.Configuration(
        model: toy.model, gradients: toy.gradients, metric: MetricBlend(.sensitivity), output: .file("\(toy.folder)/none.json"),
        dryRun: true, context: toy.context)
    ).run { _ in }
    #expect(summary.output == nil && summary.line.hasPrefix("would"))
    #expect(!exists("\(toy.folder)/none.json"))
  }
}
