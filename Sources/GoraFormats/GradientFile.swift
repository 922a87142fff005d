import GoraCore

/// What the steps of a gradient estimate saw, one element a step.
package struct GradientSteps: Sendable, Equatable {
  /// Mean loss of the step's micro-batch.
  package var loss: [Double]
  /// Tokens, prompts included.
  package var tokens: [Int]
  /// Data rows.
  package var rows: [Int]
  /// Running importance of each weight, by parameter name; in a file, in natural order of the names.
  package var importance: [(name: String, values: [Double])]
  /// Largest and mean relative change of the importances since the step before; empty in files that do not have them.
  package var changeMax: [Double]
  package var changeMean: [Double]

  package init(
    loss: [Double] = [], tokens: [Int] = [], rows: [Int] = [], importance: [(name: String, values: [Double])] = [],
    changeMax: [Double] = [], changeMean: [Double] = []
  ) {
    self.loss = loss
    self.tokens = tokens
    self.rows = rows
    self.importance = importance
    self.changeMax = changeMax
    self.changeMean = changeMean
  }

  package static func == (a: GradientSteps, b: GradientSteps) -> Bool {
    a.loss == b.loss && a.tokens == b.tokens && a.rows == b.rows && a.changeMax == b.changeMax && a.changeMean == b.changeMean
      && a.importance.elementsEqual(b.importance) { $0.name == $1.name && $0.values == $1.values }
  }
}

/// Importances of windows of steps, as they change while weights move (`gora-grad --track`), one element a window.
package struct GradientTrack: Sendable, Equatable {
  /// The last step of each window, counted from 1.
  package var steps: [Int]
  /// avg|W⊙g| of each weight, g the window's mean gradient, by parameter name; in a file, in natural order of the names.
  package var importance: [(name: String, values: [Double])]

  package init(steps: [Int] = [], importance: [(name: String, values: [Double])] = []) {
    self.steps = steps
    self.importance = importance
  }

  package static func == (a: GradientTrack, b: GradientTrack) -> Bool {
    a.steps == b.steps && a.importance.elementsEqual(b.importance) { $0.name == $1.name && $0.values == $1.values }
  }
}

/// What a matrix of a gradient file is of a weight's gradients over the micro-batches.
package enum GradientKind: String, Sendable {
  case mean
  /// The mean of their squares, entry by entry.
  case squares = "mean of squares"
  /// Where steps along them led the weight: its values after the last one less those before the first.
  case displacement

  package var group: String {
    switch self {
    case .mean: "gradients"
    case .squares: "squares"
    case .displacement: "displacements"
    }
  }
}

/// Where things lie in a gradient file.
enum GradientLayout {
  static let format = "gora-gradients"
  static let version = 1
  static let steps = "/steps"
  static let loss = "/steps/loss"
  static let tokens = "/steps/tokens"
  static let rows = "/steps/rows"
  static let changeMax = "/steps/change_max"
  static let changeMean = "/steps/change_mean"
  static let importance = "/steps/importance"
  static let track = "/track"
  static let trackSteps = "/track/steps"
  static let trackImportance = "/track/importance"
  static let inputs = "/inputs"

  /// The path of a parameter's dataset; its name comes from a checkpoint, and HDF5 would take a slash for a group.
  static func object(_ name: String, in group: String, path: String) throws(GoraError) -> String {
    if name.isEmpty || name == "." || name.utf8.contains(where: { $0 == UInt8(ascii: "/") || $0 == 0 }) {
      throw GoraError(.data, at: .file(path), "parameter name \"\(name)\" cannot name an HDF5 dataset")
    }
    return "\(group)/\(name)"
  }
}

/// Index of the first NaN or infinity; nil where all values are finite.
func firstNonFinite(_ values: UnsafeBufferPointer<Float>) -> Int? {
  var start = 0
  while start < values.count {
    let end = min(start + 4096, values.count)
    // Without a branch a value, so that the compiler vectorises it.
    var bad: UInt32 = 0
    for i in start..<end { bad |= (values[i].bitPattern & 0x7F80_0000) &+ 0x0080_0000 }
    if bad & 0x8000_0000 != 0 { return (start..<end).first { !values[$0].isFinite } }
    start = end
  }
  return nil
}
