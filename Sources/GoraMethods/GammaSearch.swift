/// The choice of γ by trying: the loss after the first step of each candidate size, against the loss before it
/// (the rule that GoRA's authors describe in their rebuttal, with the loss before the step measured at B = 0).
package struct GammaSearch: Sendable, Equatable {
  package struct Point: Sendable, Equatable {
    package var gamma: Double
    /// May be infinite or NaN where the step was far too long.
    package var loss: Double

    package init(gamma: Double, loss: Double) {
      self.gamma = gamma
      self.loss = loss
    }
  }

  /// 0.8^k from 1 down, while at least 1e-5: 52 values.
  package static let candidates: [Double] = {
    var values: [Double] = []
    var gamma = 1.0
    while gamma >= 1e-5 {
      values.append(gamma)
      gamma *= 0.8
    }
    return values
  }()

  /// At γ = 0.
  package let baseLoss: Double
  /// In the order of `candidates`.
  package let curve: [Point]

  /// - Parameter loss: the loss at a γ; called once a candidate.
  package init(baseLoss: Double, loss: (Double) -> Double) {
    self.baseLoss = baseLoss
    curve = Self.candidates.map { Point(gamma: $0, loss: loss($0)) }
  }

  /// The candidate with the least loss, the larger of equals; γ = 0 where none is below the base.
  package var best: Point {
    curve.reduce(Point(gamma: 0, loss: baseLoss)) { $1.loss < $0.loss ? $1 : $0 }
  }
}
