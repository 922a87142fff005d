import Foundation
import GoraCore
import Testing

@testable import GoraMethods

@Suite struct AdvantageTests {
  private let importances = [3e-7, 1e-7, 0, 6e-7]

  @Test func sumsKeepProportions() throws {
    let shares = try Advantage().shares(importances)
    for (share, expected) in zip(shares, [0.3, 0.1, 0, 0.6]) { #expect(abs(share - expected) < 1e-15) }
  }

  @Test func squareRootsComeFirst() throws {
    let roots = [0.3, 0.1, 0, 0.6].map { $0.squareRoot() }
    let expected = roots.map { $0 / roots.reduce(0, +) }
    let shares = try Advantage(.sum, takesSquareRoot: true).shares(importances)
    for (share, expected) in zip(shares, expected) { #expect(abs(share - expected) < 1e-14) }
    #expect(throws: GoraError.self) { try Advantage(.softmax, takesSquareRoot: true).shares([1, -1]) }
  }

  /// exp((I − min)/(max − min)/T)/Σ as it is written.
  @Test(arguments: [0.5, 1, 1e-3]) func softmaxEqualsItsFormula(_ temperature: Double) throws {
    for values in [importances, [-12.4, -11, -13.5], [7]] {
      let (least, most) = (values.min() ?? 0, values.max() ?? 0)
      let scaled = values.map { most > least ? ($0 - least) / (most - least) / temperature : 0 }
      // e^1000 does not fit a double, so the largest is taken out here too.
      let top = scaled.max() ?? 0
      let powers = scaled.map { Foundation.exp($0 - top) }
      let expected = powers.map { $0 / powers.reduce(0, +) }
      let shares = try Advantage(.softmax, temperature: temperature).shares(values)
      for (share, expected) in zip(shares, expected) { #expect(abs(share - expected) < 1e-12) }
    }
  }

  @Test func equalImportancesShareEqually() throws {
    #expect(try Advantage(.softmax).shares([2, 2, 2, 2]) == [0.25, 0.25, 0.25, 0.25])
    #expect(try Advantage(.softmax).shares([0, 0]) == [0.5, 0.5])
  }

  /// Each metric is normalised by itself, so that its unit does not count.
  @Test func blendsAreMeansOfShares() throws {
    let shares = try Advantage().shares([[3e-7, 1e-7], [100, 300]])
    #expect(zip(shares, [0.5, 0.5]).allSatisfy { abs($0 - $1) < 1e-15 })
    let one = try Advantage(.softmax).shares([1, 2, 4])
    #expect(try Advantage(.softmax).shares([[1, 2, 4], [1, 2, 4]]) == one)
  }

  @Test func whatCannotBeSharedIsRefused() throws {
    for bad in [-1, Double.nan, .infinity] {
      #expect(throws: GoraError.self) { try Advantage().shares([1, bad]) }
    }
    #expect(throws: GoraError.self) { try Advantage().shares([0, 0]) }
    #expect(throws: GoraError.self) { try Advantage(.softmax).shares([0, .nan]) }
    // Entropies are negative.
    #expect { try Advantage().shares([-12.4, -11]) } throws: { ($0 as? GoraError)?.hint?.contains("softmax") ?? false }
    for temperature in [0, -1, Double.nan] {
      #expect { try Advantage(.softmax, temperature: temperature) } throws: { ($0 as? GoraError)?.status == .usage }
    }
  }

  @Test func orderOfTheModulesDoesNotMatter() throws {
    var random = Random(seed: 1, stream: "order")
    let values = (0..<100).map { _ in random.uniform() }
    var order = Array(values.indices)
    random.shuffle(&order)
    for normalisation in Normalisation.allCases {
      let advantage = try Advantage(normalisation)
      let shares = try advantage.shares(values)
      #expect(try advantage.shares(order.map { values[$0] }) == order.map { shares[$0] })
    }
  }
}
