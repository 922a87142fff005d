import CGoraKernels
import GoraCore

/// GoRA-pro: the target weights move while their gradients are collected, so that these are of n true steps; afterwards the weights
/// are what they were.
package struct Exploration: Sendable, Equatable {
  /// How a weight moves along its gradient.
  package enum Rule: String, Sendable, CaseIterable {
    case adalomo
    /// p ← p − rate·g.
    case sgd
  }

  package var rule: Rule
  package var rate: Double

  /// The rate where none is given.
  package static let standardRate = 1e-5

  package init(rule: Rule, rate: Double) {
    self.rule = rule
    self.rate = rate
  }
}

/// A target weight's working copy and what its updates remember.
final class ExploredWeight {
  private let values: FloatBuffer
  private let exploration: Exploration
  private var adalomo: AdaLomo?

  /// - Parameter values: the working copy [rows, columns].
  init(_ values: FloatBuffer, rows: Int, columns: Int, exploration: Exploration) {
    self.values = values
    self.exploration = exploration
    if exploration.rule == .adalomo { adalomo = AdaLomo(rows: rows, columns: columns) }
  }

  /// Takes one step along the gradient of a micro-batch's mean loss.
  func update(gradient: UnsafePointer<Float>, count: Int) {
    switch exploration.rule {
    case .adalomo: adalomo?.update(values.pointer, gradient: gradient, rate: exploration.rate)
    case .sgd:
      let (values, rate) = (values.pointer, Float(exploration.rate))
      parallelRanges(count, grain: 65_536, alignment: 16) {
        gora_add_scaled(values + $0.lowerBound, gradient + $0.lowerBound, -rate, $0.count)
      }
    }
    values.letGo()
  }
}
