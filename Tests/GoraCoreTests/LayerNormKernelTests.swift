import CGoraKernels
import Glibc
import GoraCore
import Testing

/// The norm with a bias and the functions of MLPs without a gate, beside the same formulas in double precision.
@Suite struct LayerNormKernelTests {
  private static func layerNorm(_ x: [Double], _ w: [Double], _ b: [Double], _ columns: Int, _ epsilon: Double) -> [Double] {
    var y = x
    for row in 0..<(columns == 0 ? 0 : x.count / columns) {
      let own = row * columns..<(row + 1) * columns
      let mean = x[own].reduce(0, +) / Double(columns)
      let variance = x[own].reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(columns)
      for i in own { y[i] = w[i - own.lowerBound] * (x[i] - mean) / (variance + epsilon).squareRoot() + b[i - own.lowerBound] }
    }
    return y
  }

  /// Values of mean 3, where a variance from the mean of squares would lose digits. Tolerances as in `ElementwiseTests`.
  @Test(arguments: sizes) func layerNorm(_ columns: Int) {
    let (rows, epsilon) = (3, Float(1e-3))
    let count = rows * columns
    let x = numbers(count, "x").map { $0 + 3 }
    let (w, b, dy) = (numbers(columns, "w"), numbers(columns, "b"), numbers(count, "dy"))
    var y = [Float](repeating: canary, count: count + 2)
    var statistics = [Float](repeating: 0, count: 2 * rows)
    gora_layer_norm(x, w, b, &y, &statistics, rows, columns, epsilon)
    let expected = Self.layerNorm(x.doubles, w.doubles, b.doubles, columns, Double(epsilon))
    #expect(relativeError(Array(y[..<count]), expected) < (columns == 2 ? 1e-5 : 2e-6))
    #expect(y[count] == canary)
    if columns < 2 { return }

    func loss(_ x: [Double], _ w: [Double]) -> Double {
      zip(Self.layerNorm(x, w, b.doubles, columns, Double(epsilon)), dy).reduce(0) { $0 + $1.0 * Double($1.1) }
    }
    let before = numbers(count, "before")
    var dx = before
    gora_layer_norm_backward(dy, x, w, statistics, &dx, rows, columns, true)
    for i in stride(from: 0, to: count, by: max(1, count / 20)) {
      let numeric = slope(x.doubles, i) { loss($0, w.doubles) }
      #expect(abs(Double(dx[i]) - Double(before[i]) - numeric) < 2e-5 * max(1, abs(numeric)))
    }
    // Overwritten, where it is dy itself too.
    var alone = dy
    alone.withUnsafeMutableBufferPointer { dx in
      gora_layer_norm_backward(dx.baseAddress!, x, w, statistics, dx.baseAddress!, rows, columns, false)
    }
    for i in 0..<count {
      #expect(abs(Double(alone[i]) - (Double(dx[i]) - Double(before[i]))) < 1e-5 * max(1, abs(Double(alone[i]))))
    }
    // dw of columns [from, to) alone.
    let (from, to) = (columns / 3, columns - columns / 4)
    var dw = [Float](repeating: 0.5, count: columns)
    gora_layer_norm_weight(dy, x, statistics, &dw, rows, columns, from, to)
    for j in 0..<columns where j < from || j >= to { #expect(dw[j] == 0.5) }
    for j in stride(from: from, to: to, by: max(1, (to - from) / 20)) {
      let numeric = slope(w.doubles, j) { loss(x.doubles, $0) }
      #expect(abs(Double(dw[j]) - 0.5 - numeric) < 2e-5 * max(1, abs(numeric)))
    }
  }

  private typealias Kernel = (
    name: String, exact: (Double) -> Double, forward: (UnsafePointer<Float>, UnsafeMutablePointer<Float>, Int) -> Void,
    backward: (UnsafePointer<Float>, UnsafePointer<Float>, UnsafeMutablePointer<Float>, Int) -> Void
  )

  private static var kernels: [Kernel] {
    [
      ("gelu", { $0 * 0.5 * erfc(-$0 / 2.0.squareRoot()) }, { gora_gelu($0, $1, $2) }, { gora_gelu_backward($0, $1, $2, $3) }),
      (
        "quick gelu", { $0 / (1 + exp(-1.702 * $0)) }, { gora_quick_gelu($0, $1, $2) },
        { gora_quick_gelu_backward($0, $1, $2, $3) }
      ),
    ]
  }

  /// From where they are all but 0 to where they are all but x.
  @Test func functions() {
    for kernel in Self.kernels {
      let x = (-600...600).map { Float($0) / 40 }
      let dy = numbers(x.count, "dy")
      var (y, dx) = (x, dy)
      kernel.forward(x, &y, x.count)
      dx.withUnsafeMutableBufferPointer { kernel.backward($0.baseAddress!, x, $0.baseAddress!, x.count) }
      for i in x.indices {
        let exact = kernel.exact(Double(x[i]))
        #expect(abs(Double(y[i]) - exact) < 2e-6 * max(1e-3, abs(exact)), "\(kernel.name) of \(x[i])")
        let numeric = Double(dy[i]) * slope([Double(x[i])], 0) { kernel.exact($0[0]) }
        #expect(abs(Double(dx[i]) - numeric) < 3e-6, "\(kernel.name) of \(x[i])")
      }
    }
  }
}
