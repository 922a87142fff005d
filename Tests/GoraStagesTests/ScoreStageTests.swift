import GoraCore
import GoraFormats
import GoraMethods
import GoraStages
import Testing

@Suite struct ScoreStageTests {
  @Test func scoresAreTheMeanOfWeightTimesGradient() throws {
    let toy = try ToyCheckpoint()
    let summary = try toy.score(metric: .sensitivity)
    let table = try ScoreTable(reading: toy.document(try #require(summary.output)))
    #expect(table.model == (try ModelFolder(path: toy.model).identity))
    #expect(table.modules.map(\.name) == toy.shapes.map(\.name))
    for module in table.modules {
      let w = toy.weight(module.name)
      let g = toy.gradient(module.name)
      let expected = zip(w, g).reduce(0) { $0 + abs(Double($1.0) * Double($1.1)) } / Double(w.count)
      #expect(abs(module.importance / expected - 1) < 1e-12)
    }
    #expect(abs(table.modules.reduce(0) { $0 + $1.advantage } - 1) < 1e-12)
  }

  @Test func gradientsOfAnotherModelAreRefused() throws {
    let toy = try ToyCheckpoint()
    let other = try ToyCheckpoint(seed: 1)
    #expect {
      try ScoreStage(
        ScoreStage.Configuration(
          model: other.model, gradients: toy.gradients, metric: .gradientMean, output: .standardOutput, dryRun: false,
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
        model: toy.model, gradients: toy.gradients, metric: .sensitivity, output: .file("\(toy.folder)/none.json"),
        dryRun: true, context: toy.context)
    ).run { _ in }
    #expect(summary.output == nil && summary.line.hasPrefix("would"))
    #expect(!exists("\(toy.folder)/none.json"))
  }
}
