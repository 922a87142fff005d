import CGoraKernels
import Glibc
import GoraCore

/// AdaLomo (Lv et al. 2024, arXiv 2310.10195, algorithm 1) for one matrix p [a, b]; its state is a + b numbers.
///
/// With u = g² + 1e-30 and β = 1 − t^(−0.8):
///
///     R ← βR + (1 − β)·mean over columns of u,  C ← βC + (1 − β)·mean over rows of u
///     d = g · (R/mean R)^(−½) · C^(−½),  d ← d / max(1, RMS(d))
///     p ← p − rate·max(1e-3, RMS(p))·d
///
/// There is no weight decay, and no loss scale: gradients are f32 as they are.
package struct AdaLomo {
  /// R [a] and C [b].
  package private(set) var rowMoments: [Double]
  package private(set) var columnMoments: [Double]
  /// t, updates done.
  package private(set) var step = 0

  package init(rows: Int, columns: Int) {
    rowMoments = [Double](repeating: 0, count: rows)
    columnMoments = [Double](repeating: 0, count: columns)
  }

  /// One update of `values` [a, b] along `gradient` [a, b]; the same bits for any number of threads.
  package mutating func update(
    _ values: UnsafeMutablePointer<Float>, gradient: UnsafePointer<Float>, rate: Double
  ) {
    let (rows, columns) = (rowMoments.count, columnMoments.count)
    step += 1
    let keep = 1 - pow(Double(step), -0.8)
    // Parts of whole rows, at most 32 so that their column sums stay small beside the matrix; added up in order.
    let height = max(16, (rows + 31) / 32)
    let parts = (rows + height - 1) / height
    func range(_ part: Int) -> Range<Int> { part * height..<min(rows, (part + 1) * height) }

    var rowSums = [Double](repeating: 0, count: rows)
    var columnSums = [Double](repeating: 0, count: parts * columns)
    rowSums.withUnsafeMutableBufferPointer { rowSums in
      columnSums.withUnsafeMutableBufferPointer { columnSums in
        nonisolated(unsafe) let (rowSums, columnSums) = (rowSums.baseAddress!, columnSums.baseAddress!)
        parallelParts(parts) { part in
          let from = range(part).lowerBound
          gora_square_sums(gradient + from * columns, rowSums + from, columnSums + part * columns, range(part).count, columns)
        }
      }
    }
    let floor = 1e-30
    for i in 0..<rows { rowMoments[i] = keep * rowMoments[i] + (1 - keep) * (rowSums[i] / Double(columns) + floor) }
    for j in 0..<columns {
      var sum = 0.0
      for part in 0..<parts { sum += columnSums[part * columns + j] }
      columnMoments[j] = keep * columnMoments[j] + (1 - keep) * (sum / Double(rows) + floor)
    }
    let mean = rowMoments.reduce(0, +) / Double(rows)
    let rowFactors = rowMoments.map { Float((mean / $0).squareRoot()) }
    let columnFactors = columnMoments.map { Float(1 / $0.squareRoot()) }

    var partial = [Double](repeating: 0, count: 2 * parts)
    partial.withUnsafeMutableBufferPointer { partial in
      nonisolated(unsafe) let partial = partial
      parallelParts(parts) { part in
        let (from, height) = (range(part).lowerBound, range(part).count)
        partial[2 * part] = rowFactors.withUnsafeBufferPointer { rowFactors in
          gora_factored_square_sum(gradient + from * columns, rowFactors.baseAddress! + from, columnFactors, height, columns)
        }
        partial[2 * part + 1] = gora_sum_squares(values + from * columns, height * columns)
      }
    }
    let count = Double(rows * columns)
    let updateRMS = (stride(from: 0, to: 2 * parts, by: 2).reduce(0) { $0 + partial[$1] } / count).squareRoot()
    let valueRMS = (stride(from: 1, to: 2 * parts, by: 2).reduce(0) { $0 + partial[$1] } / count).squareRoot()
    let step = Float(rate * max(1e-3, valueRMS) / max(1, updateRMS))
    parallelParts(parts) { part in
      let (from, height) = (range(part).lowerBound, range(part).count)
      rowFactors.withUnsafeBufferPointer { rowFactors in
        gora_factored_update(
          values + from * columns, gradient + from * columns, rowFactors.baseAddress! + from, columnFactors, step, height, columns
        )
      }
    }
  }
}
