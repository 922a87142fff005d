import Glibc
import GoraCore

/// ‖x − y‖ / ‖y‖, the yardstick of most suites here; 0 for two empty arrays.
func relativeError(_ x: [Float], _ y: [Double]) -> Double {
  precondition(x.count == y.count, "\(x.count) values against \(y.count)")
  var difference = 0.0
  var norm = 0.0
  for i in x.indices {
    let distance = Double(x[i]) - y[i]
    difference += distance * distance
    norm += y[i] * y[i]
  }
  return (difference / max(norm, 1e-300)).squareRoot()
}

/// Uniform numbers in [-range, range).
func numbers(_ count: Int, _ stream: String, range: Double = 2) -> [Float] {
  var random = Random(seed: 7, stream: stream)
  return (0..<count).map { _ in Float((2 * random.uniform() - 1) * range) }
}

/// What lies behind the part of a buffer that a kernel may write.
let canary: Float = 12345.678

/// The sizes around every vector width in use.
let sizes = [0, 1, 2, 15, 16, 17, 63, 64, 65, 1000]

extension Array where Element == Float {
  var doubles: [Double] { map(Double.init) }
}

/// Central difference of a double-precision function along one coordinate.
func slope(_ x: [Double], _ index: Int, step: Double = 1e-5, _ f: ([Double]) -> Double) -> Double {
  var up = x
  var down = x
  up[index] += step
  down[index] -= step
  return (f(up) - f(down)) / (2 * step)
}

extension WeightMatrix {
  /// dx = dy·W of a dy whose rows are rounded where they lie.
  func multipliedTransposed(inPlace dy: [Float], tokens: Int, scratch: MatmulScratch) -> [Float] {
    var (dy, dx) = (dy, [Float](repeating: .nan, count: tokens * columns))
    dy.withUnsafeMutableBufferPointer { dy in
      guard let first = dy.baseAddress else { return }
      for token in 0..<tokens { roundInPlace(row: first + token * rows) }
      multiplyTransposed(roundedInPlace: first, tokens: tokens, into: &dx, scratch: scratch)
    }
    return dx
  }
}
