/// How well predictions agree with what is true: numbers of each true class that were taken for each.
package struct Agreement: Sendable, Equatable {
  /// counts[true][predicted]; one predicted class more than true ones, of what is none of them.
  package private(set) var counts: [[Int]]

  package init(classes: Int) {
    precondition(classes > 0)
    counts = Array(repeating: Array(repeating: 0, count: classes + 1), count: classes)
  }

  /// - Parameter predicted: nil for none of the classes.
  package mutating func add(truth: Int, predicted: Int?) { counts[truth][predicted ?? counts.count] += 1 }

  package var total: Int { counts.joined().reduce(0, +) }
  package var correct: Int { counts.indices.reduce(0) { $0 + counts[$1][$1] } }
  /// Rows of a true class.
  package func rows(of truth: Int) -> Int { counts[truth].reduce(0, +) }
  /// Rows that were taken for a class.
  private func taken(for predicted: Int) -> Int { counts.reduce(0) { $0 + $1[predicted] } }

  /// Matthews' correlation: (c·s − Σ pₖtₖ) / √((s² − Σ pₖ²)(s² − Σ tₖ²)) with s rows, c of them correct, tₖ of class k and pₖ taken for
  /// it (Gorodkin 2004, R_K; for two classes Matthews' φ). What is no class counts as one that is never true. 0 where all rows
  /// have one class, or were taken for one, as scikit-learn has it.
  package var matthews: Double {
    let s = Double(total)
    let predicted = (0...counts.count).map { Double(taken(for: $0)) }
    let truth = counts.indices.map { Double(rows(of: $0)) }
    let covariance = Double(correct) * s - zip(predicted, truth).reduce(0) { $0 + $1.0 * $1.1 }
    let spreads = (s * s - predicted.reduce(0) { $0 + $1 * $1 }, s * s - truth.reduce(0) { $0 + $1 * $1 })
    return spreads.0 > 0 && spreads.1 > 0 ? covariance / (spreads.0 * spreads.1).squareRoot() : 0
  }

  /// F1 of one class, 2·TP / (2·TP + FP + FN); 0 where there is none of it.
  package func f1(of label: Int) -> Double {
    let both = rows(of: label) + taken(for: label)
    return both == 0 ? 0 : Double(2 * counts[label][label]) / Double(both)
  }
}
