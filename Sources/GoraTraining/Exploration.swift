import CGoraKernels
import GoraCore
import GoraModels

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
  /// nil: by the model's shape, see `settled`.
  package var rate: Double?
  /// Steps over which the rate rises to it, linearly; 0: it is that of the first already.
  package var warmup: Int

  /// The rate where none is given.
  package static let standardRate = 1e-5

  package init(rule: Rule, rate: Double?, warmup: Int = 0) {
    self.rule = rule
    self.rate = rate
    self.warmup = warmup
  }

  /// With its rate; where none is given, 2 / (width · √layers): docs/starts.md, section 4. The first linear of a model sees its whole width.
  package func settled(for model: any Model) -> Exploration {
    var settled = self
    if rate == nil, let first = model.linears.first {
      settled.rate = 2 / (Double(first.inputSize) * Double(max(1, model.blocks.count)).squareRoot())
    }
    return settled
  }

  /// Of a step, counted from 1.
  func rate(ofStep step: Int) -> Double { (rate ?? 0) * min(1, Double(step) / Double(max(1, warmup))) }
}

/// A target weight's working copy and what its updates remember.
final class ExploredWeight {
  private let values: FloatBuffer
  private let exploration: Exploration
  private var adalomo: AdaLomo?
  private var step = 0

  /// - Parameter values: the working copy [rows, columns].
  init(_ values: FloatBuffer, rows: Int, columns: Int, exploration: Exploration) {
    self.values = values
    self.exploration = exploration
    if exploration.rule == .adalomo { adalomo = AdaLomo(rows: rows, columns: columns) }
  }

  /// Takes one step along the gradient of a micro-batch's mean loss.
  func update(gradient: UnsafePointer<Float>, count: Int) {
    step += 1
    let rate = exploration.rate(ofStep: step)
    switch exploration.rule {
    case .adalomo: adalomo?.update(values.pointer, gradient: gradient, rate: rate)
    case .sgd:
      let (values, rate) = (values.pointer, Float(rate))
      parallelRanges(count, grain: 65_536, alignment: 16) {
        gora_add_scaled(values + $0.lowerBound, gradient + $0.lowerBound, -rate, $0.count)
      }
    }
    values.letGo()
  }

  /// Leaves the difference to the weight that it was a copy of in the copy's place; it is not updated after that.
  func subtract(_ original: WeightMatrix) -> FloatBuffer {
    let columns = original.columns
    nonisolated(unsafe) let values = values.pointer
    parallelRanges(original.rows, grain: max(1, 65_536 / max(1, columns)), alignment: 1) { rows in
      let count = rows.count * columns
      withUnsafeTemporaryAllocation(of: Float.self, capacity: count) { start in
        guard let start = start.baseAddress else { return }
        original.widen(rows, into: start)
        gora_add_scaled(values + rows.lowerBound * columns, start, -1, count)
      }
    }
    return self.values
  }
}
