import CGoraKernels
import Glibc
import GoraCore
import Testing

/// Every loop of elementwise.c beside the same formula in double precision.
///
/// f32 rounds each operation by 6e-8; the tolerances below are some ten times what the number of operations makes of that.
@Suite struct ElementwiseTests {
  @Test(arguments: sizes) func sums(_ n: Int) {
    let (x, y) = (numbers(n, "x"), numbers(n, "y"))
    let behind = [Float](repeating: canary, count: 4)
    var sum = y + behind
    gora_add(&sum, x, n)
    #expect(sum == zip(x, y).map(+) + behind)
    var scaled = x + behind
    gora_scale(&scaled, -0.3, n)
    #expect(scaled == x.map { $0 * -0.3 } + behind)
    var mixed = y + behind
    gora_add_scaled(&mixed, x, 0.7, n)
    for i in 0..<n { #expect(abs(Double(mixed[i]) - (Double(y[i]) + Double(Float(0.7)) * Double(x[i]))) < 5e-7) }
    #expect(Array(mixed[n...]) == behind)
    let squares = x.doubles.reduce(0) { $0 + $1 * $1 }
    #expect(abs(gora_sum_squares(x, n) - squares) <= 1e-13 * squares)
  }

  /// Bit for bit the documented order: sixteen interleaved sums, then these in order.
  @Test(arguments: sizes) func absoluteProducts(_ n: Int) {
    let (x, y) = (numbers(n, "x", range: 1e3), numbers(n, "y", range: 1e-3))
    var lanes = [Double](repeating: 0, count: 16)
    for i in 0..<n { lanes[i % 16] += abs(Double(x[i]) * Double(y[i])) }
    #expect(gora_abs_product_sum(x, y, n) == lanes.reduce(0, +))
  }

  @Test(arguments: [1, 3, 8]) func addRows(_ rows: Int) {
    for columns in sizes {
      let (y, bias) = (numbers(rows * columns, "y"), numbers(columns, "bias"))
      var sum = y
      gora_add_rows(&sum, bias, rows, columns)
      #expect(sum == y.indices.map { y[$0] + bias[$0 % columns] })
    }
  }

  @Test(arguments: sizes) func finite(_ n: Int) {
    var x = [Float](repeating: .greatestFiniteMagnitude, count: n)
    #expect(gora_all_finite(x, n))
    for i in stride(from: 0, to: n, by: max(1, n / 70)) {
      for bad in [Float.nan, .infinity, -.infinity] {
        x[i] = bad
        #expect(!gora_all_finite(x, n))
      }
      x[i] = -.leastNonzeroMagnitude
    }
  }

  // MARK: Norm

  static func rmsNorm(_ x: [Double], _ w: [Double], _ columns: Int, _ epsilon: Double, offset: Double = 0) -> [Double] {
    var y = x
    for row in 0..<(columns == 0 ? 0 : x.count / columns) {
      let part = row * columns..<(row + 1) * columns
      let r = 1 / (x[part].reduce(0) { $0 + $1 * $1 } / Double(columns) + epsilon).squareRoot()
      for j in 0..<columns { y[row * columns + j] = (w[j] + offset) * x[row * columns + j] * r }
    }
    return y
  }

  @Test(arguments: sizes, [Float(0), 1]) func rmsNorm(_ columns: Int, _ offset: Float) {
    let rows = 3
    let count = rows * columns
    let epsilon: Float = 1e-2
    let (x, w, dy) = (numbers(count, "x"), numbers(columns, "w"), numbers(count, "dy"))
    var y = [Float](repeating: canary, count: count + 2)
    var deviation = [Float](repeating: 0, count: rows)
    gora_rms_norm(x, w, offset, &y, &deviation, rows, columns, epsilon)
    let expected = Self.rmsNorm(x.doubles, w.doubles, columns, Double(epsilon), offset: Double(offset))
    #expect(relativeError(Array(y[..<count]), expected) < 1e-6)
    #expect(y[count] == canary)
    if columns == 0 { return }

    var again = y
    gora_rms_norm(x, w, offset, &again, nil, rows, columns, epsilon)
    #expect(again == y)

    func loss(_ x: [Double], _ w: [Double]) -> Double {
      zip(Self.rmsNorm(x, w, columns, Double(epsilon), offset: Double(offset)), dy).reduce(0) { $0 + $1.0 * Double($1.1) }
    }
    // dx is added to.
    let before = numbers(count, "before")
    var dx = before
    gora_rms_norm_backward(dy, x, w, offset, deviation, &dx, rows, columns, true)
    for i in stride(from: 0, to: count, by: max(1, count / 20)) {
      let numeric = slope(x.doubles, i) { loss($0, w.doubles) }
      #expect(abs(Double(dx[i]) - Double(before[i]) - numeric) < 1e-5 * max(1, abs(numeric)))
    }
    // Or overwritten, where it is dy itself too.
    var alone = dy
    alone.withUnsafeMutableBufferPointer { dx in
      gora_rms_norm_backward(dx.baseAddress!, x, w, offset, deviation, dx.baseAddress!, rows, columns, false)
    }
    for i in 0..<count {
      #expect(abs(Double(alone[i]) - (Double(dx[i]) - Double(before[i]))) < 1e-5 * max(1, abs(Double(alone[i]))))
    }
    // dw of columns [from, to) alone.
    let (from, to) = (columns / 3, columns - columns / 4)
    var dw = [Float](repeating: 0.5, count: columns)
    gora_rms_norm_weight(dy, x, deviation, &dw, rows, columns, from, to)
    for j in 0..<columns where j < from || j >= to { #expect(dw[j] == 0.5) }
    for j in stride(from: from, to: to, by: max(1, (to - from) / 20)) {
      let numeric = slope(w.doubles, j) { loss(x.doubles, $0) }
      #expect(abs(Double(dw[j]) - 0.5 - numeric) < 1e-5 * max(1, abs(numeric)))
    }
  }

  @Test func rmsNormPropagatesNotANumber() {
    var x = numbers(40, "x")
    x[25] = .nan
    var y = x
    gora_rms_norm(x, [Float](repeating: 1, count: 20), 0, &y, nil, 2, 20, 1e-5)
    #expect(y[..<20].allSatisfy(\.isFinite) && y[20...].allSatisfy(\.isNaN))
  }

  @Test(arguments: sizes) func columnSums(_ columns: Int) {
    let rows = 5
    let dy = numbers(rows * columns, "dy")
    let (from, to) = (columns / 3, columns)
    var sums = [Float](repeating: 1, count: columns)
    gora_column_sums(dy, &sums, rows, columns, from, to)
    for j in 0..<columns {
      let sum = j < from ? 0 : (0..<rows).reduce(0.0) { $0 + Double(dy[$1 * columns + j]) }
      #expect(abs(Double(sums[j]) - 1 - sum) < 2e-6)
    }
  }

  // MARK: Rotation

  @Test(arguments: [2, 4, 12, 30, 32, 64, 130]) func rotate(_ d: Int) {
    let (heads, half) = (3, d / 2)
    let x = numbers(heads * d, "x")
    let angles = numbers(half, "angles", range: 3).doubles
    let cosine = angles.map { Float(cos($0)) }
    let sine = angles.map { Float(sin($0)) }
    for sign: Float in [1, -1] {
      var y = x + [canary]
      gora_rotate(&y, cosine, sine, heads, d, sign)
      var expected = [Double](repeating: 0, count: heads * d)
      for h in 0..<heads {
        for j in 0..<half {
          let (a, b) = (Double(x[h * d + j]), Double(x[h * d + j + half]))
          let (c, s) = (Double(cosine[j]), Double(sign * sine[j]))
          expected[h * d + j] = a * c - b * s
          expected[h * d + j + half] = a * s + b * c
        }
      }
      #expect(relativeError(Array(y.dropLast()), expected) < 3e-7)
      #expect(y.last == canary)
      gora_rotate(&y, cosine, sine, heads, d, -sign)
      #expect(relativeError(Array(y.dropLast()), x.doubles) < 5e-7)
    }
  }

  // MARK: SwiGLU

  static func silu(_ x: Double) -> Double { x / (1 + exp(-x)) }

  @Test(arguments: sizes) func swiglu(_ n: Int) {
    let (gate, up, dy) = (numbers(n, "gate", range: 8), numbers(n, "up"), numbers(n, "dy"))
    let behind = [canary, canary]
    var y = [Float](repeating: 0, count: n) + behind
    gora_swiglu(gate, up, &y, n)
    #expect(relativeError(Array(y[..<n]), zip(gate, up).map { Self.silu(Double($0)) * Double($1) }) < 1e-6)
    var dGate = [Float](repeating: 0, count: n) + behind
    var dUp = dGate
    gora_swiglu_backward(dy, gate, up, &dGate, &dUp, n)
    var expectedGate = [Double](repeating: 0, count: n)
    var expectedUp = expectedGate
    for i in 0..<n {
      expectedGate[i] = slope([Double(gate[i])], 0) { Double(dy[i]) * Self.silu($0[0]) * Double(up[i]) }
      expectedUp[i] = Double(dy[i]) * Self.silu(Double(gate[i]))
    }
    #expect(relativeError(Array(dGate[..<n]), expectedGate) < 1e-6)
    #expect(relativeError(Array(dUp[..<n]), expectedUp) < 1e-6)
    #expect(y[n...].elementsEqual(behind) && dGate[n...].elementsEqual(behind) && dUp[n...].elementsEqual(behind))
  }

  static func geluTanh(_ x: Double) -> Double { 0.5 * x * (1 + tanh((2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x))) }

  @Test(arguments: sizes) func geglu(_ n: Int) {
    let (gate, up, dy) = (numbers(n, "gate", range: 6), numbers(n, "up"), numbers(n, "dy"))
    let behind = [canary, canary]
    var y = [Float](repeating: 0, count: n) + behind
    gora_geglu(gate, up, &y, n)
    #expect(relativeError(Array(y[..<n]), zip(gate, up).map { Self.geluTanh(Double($0)) * Double($1) }) < 1e-6)
    var dGate = [Float](repeating: 0, count: n) + behind
    var dUp = dGate
    gora_geglu_backward(dy, gate, up, &dGate, &dUp, n)
    var expectedGate = [Double](repeating: 0, count: n)
    var expectedUp = expectedGate
    for i in 0..<n {
      expectedGate[i] = slope([Double(gate[i])], 0) { Double(dy[i]) * Self.geluTanh($0[0]) * Double(up[i]) }
      expectedUp[i] = Double(dy[i]) * Self.geluTanh(Double(gate[i]))
    }
    #expect(relativeError(Array(dGate[..<n]), expectedGate) < 1e-6)
    #expect(relativeError(Array(dUp[..<n]), expectedUp) < 1e-6)
    #expect(y[n...].elementsEqual(behind) && dGate[n...].elementsEqual(behind) && dUp[n...].elementsEqual(behind))
  }

  @Test func gegluPropagatesNotANumber() {
    let gate: [Float] = [.nan, 1, .infinity, 500, -500]
    var y = gate
    gora_geglu(gate, [1, .nan, 2, 2, 2], &y, 5)
    #expect(y[0].isNaN && y[1].isNaN && y[2] == .infinity && y[3] == 1000 && y[4] == 0)
    var (dGate, dUp) = (y, y)
    gora_geglu_backward([1, 1, 1, 1, 1], gate, [1, 1, 1, 2, 2], &dGate, &dUp, 5)
    #expect(dGate[0].isNaN && dUp[0].isNaN && dGate[3] == 2 && dUp[3] == 500 && dGate[4] == 0 && dUp[4] == 0)
  }

  /// 2 ulp of tanh, one of the argument and one of the product, at all magnitudes; bad numbers stay bad, infinity is the cap.
  @Test(arguments: [(Float(1), Float(1)), (0.25, 30), (3, 0.5)]) func softCap(_ scale: Float, _ cap: Float) {
    let x =
      stride(from: Float(-20), through: 20, by: 0.0137).map { $0 } + numbers(300, "small", range: 1e-3) + [0, .infinity, .nan]
    var y = x + [canary]
    gora_soft_cap(&y, x.count, scale, cap)
    for (value, x) in zip(y, x.dropLast(2)) {
      let expected = Double(cap) * tanh(Double(x) * Double(scale) / Double(cap))
      #expect(abs(Double(value) - expected) <= 4e-7 * abs(expected), "\(x)")
    }
    #expect(y[x.count - 2] == cap && y[x.count - 1].isNaN && y[x.count] == canary)
  }

  /// e^x inside the sigmoid over all it may meet: relative 2e-6 down to the smallest normal number, 1e-5 a little below.
  @Test func sigmoidRange() {
    let gate = stride(from: Float(-100), through: 100, by: 0.0371).map { $0 }
    let n = gate.count
    var y = [Float](repeating: 0, count: n)
    gora_swiglu(gate, [Float](repeating: 1, count: n), &y, n)
    for i in 0..<n {
      let expected = Self.silu(Double(gate[i]))
      let tolerance = gate[i] > -82 ? 2e-6 : 1e-5
      // Below -88.7 e^-x is infinity in f32, and the sigmoid 0.
      let floor = gate[i] < -88.7 ? 1e-35 : 1e-42
      #expect(abs(Double(y[i]) - expected) <= tolerance * abs(expected) + floor, "gate \(gate[i])")
    }
  }

  @Test func swigluPropagatesNotANumber() {
    let gate: [Float] = [.nan, 1, .infinity, 1, 500, -500]
    let up: [Float] = [1, .nan, 2, .infinity, 2, 2]
    var y = [Float](repeating: 0, count: 6)
    gora_swiglu(gate, up, &y, 6)
    #expect(y[0].isNaN && y[1].isNaN && y[2] == .infinity && y[3] == .infinity && y[4] == 1000 && y[5] == 0)
    var dGate = y
    var dUp = y
    gora_swiglu_backward([1, 1, .nan, 1, 1, 1], gate, up, &dGate, &dUp, 6)
    #expect(dGate[0].isNaN && dGate[1].isNaN && dGate[2].isNaN && dUp[0].isNaN && dUp[2].isNaN)
    #expect(dGate[4] == 2 && dUp[4] == 500 && dGate[5] == 0 && dUp[5] == 0)
  }

  // MARK: Softmax and cross-entropy

  static func logSumExp(_ x: [Double]) -> Double {
    let top = x.max() ?? 0
    return top + log(x.reduce(0) { $0 + exp($1 - top) })
  }

  @Test(arguments: sizes.dropFirst(), [1.0, 100]) func softmax(_ n: Int, range: Double) {
    let x = numbers(n, "softmax", range: range)
    var y = x + [canary]
    let sum = gora_softmax_weights(&y, n, x.max()!, 1)
    let total = Self.logSumExp(x.doubles)
    for i in 0..<n { y[i] = Float(Double(y[i]) / sum) }
    for i in 0..<n {
      let expected = exp(Double(x[i]) - total)
      // x - top is rounded to 6e-8 of its size before it is an exponent.
      let tolerance = 2e-6 + 6e-8 * abs(Double(x[i]) - total)
      #expect(abs(Double(y[i]) - expected) <= tolerance * expected + 1e-37)
    }
    #expect(y[n] == canary)
  }

  /// Two numbers: their ratio is e^x itself. 2 ulp of it and two roundings.
  @Test func exponential() {
    for x in stride(from: Float(-86.9), through: 0, by: 0.0173) {
      var pair = [0, x]
      _ = gora_softmax_weights(&pair, 2, 0, 1)
      let expected = exp(Double(x))
      #expect(abs(Double(pair[1]) / Double(pair[0]) - expected) <= 6e-7 * expected, "e^\(x)")
    }
  }

  @Test(arguments: sizes.dropFirst(), [1.0, 100]) func crossEntropy(_ n: Int, range: Double) {
    let x = numbers(n, "logits", range: range)
    let scale: Float = 0.25
    let total = Self.logSumExp(x.doubles)
    for label in Set([0, n / 2, n - 1]) {
      let expected = total - Double(x[label])
      var logits = x + [canary]
      #expect(abs(gora_cross_entropy(&logits, n, label, 0) - expected) < 2e-5)
      #expect(logits == x + [canary])
      #expect(abs(gora_cross_entropy(&logits, n, label, scale) - expected) < 2e-5)
      for i in 0..<n {
        let slope = Double(scale) * (exp(Double(x[i]) - total) - (i == label ? 1 : 0))
        #expect(abs(Double(logits[i]) - slope) < 1e-6)
      }
      #expect(logits[n] == canary)
    }
  }

  /// A sure model: the small terms of a whole vocabulary count beside the largest, 1. They are 1e-4 in all; lost in a float they would take
  /// as much as 1e-6 of the loss.
  @Test func crossEntropyOfASureModel() {
    var logits = (0..<49_152).map { Float(-20 + sin(Double($0)) * 1.5) }
    logits[31_000] = 0
    let expected = log(logits.reduce(0.0) { $0 + exp(Double($1)) })
    #expect(expected > 1e-4)
    for scale in [0, 1 as Float] {
      var copy = logits
      #expect(abs(gora_cross_entropy(&copy, copy.count, 31_000, scale) - expected) < 2e-7)
    }
  }

  @Test func crossEntropyAgainstDifferences() {
    let x = numbers(17, "logits", range: 3)
    var gradient = x
    _ = gora_cross_entropy(&gradient, 17, 4, 1)
    for i in 0..<17 {
      #expect(abs(Double(gradient[i]) - slope(x.doubles, i) { Self.logSumExp($0) - $0[4] }) < 1e-6)
    }
  }

  /// The gradient of what the logits were before they were capped.
  @Test(arguments: [Float(0.7), 5, 30]) func cappedCrossEntropy(_ cap: Float) {
    let (n, label, scale) = (65, 17, Float(0.25))
    let z = numbers(n, "logits", range: 10)
    func loss(_ z: [Double]) -> Double {
      let x = z.map { Double(cap) * tanh($0 / Double(cap)) }
      return Self.logSumExp(x) - x[label]
    }
    var x = z + [canary]
    gora_soft_cap(&x, n, 1, cap)
    let capped = x
    #expect(abs(gora_capped_cross_entropy(&x, n, label, 0, cap) - loss(z.doubles)) < 2e-5)
    #expect(x == capped)
    #expect(abs(gora_capped_cross_entropy(&x, n, label, scale, cap) - loss(z.doubles)) < 2e-5)
    for i in 0..<n { #expect(abs(Double(x[i]) - Double(scale) * slope(z.doubles, i, loss)) < 1e-6) }
    #expect(x[n] == canary)
  }

  @Test(arguments: [Float.nan, .infinity]) func crossEntropyShowsBadLogits(_ bad: Float) {
    for place in [0, 7, 18] {
      var x = numbers(19, "logits")
      x[place] = bad
      for scale: Float in [0, 1] {
        var logits = x
        #expect(!gora_cross_entropy(&logits, 19, 3, scale).isFinite)
        if scale != 0 { #expect(logits.contains { $0.isNaN }) }
      }
      #expect(gora_argmax(x, 19) == 19)
    }
  }

  @Test(arguments: sizes.dropFirst()) func argmax(_ n: Int) {
    var x = numbers(n, "argmax")
    #expect(gora_argmax(x, n) == x.firstIndex(of: x.max()!))
    for i in Set([0, n / 2, n - 1]) {
      x[i] = 9
      #expect(gora_argmax(x, n) == x.firstIndex(of: 9))
    }
    for bad in [Float.nan, .infinity] {
      x[n / 3] = bad
      #expect(gora_argmax(x, n) == n)
    }
    #expect(gora_argmax([Float](repeating: -.infinity, count: n), n) == n)
  }

  // MARK: AdamW

  /// torch.optim.AdamW's formula in double, five steps.
  @Test(arguments: sizes) func adamW(_ n: Int) {
    let behind = [canary]
    var p = numbers(n, "p") + behind
    var m = [Float](repeating: 0, count: n) + behind
    var v = m
    var (pd, md, vd) = (p.dropLast().map(Double.init), [Double](repeating: 0, count: n), [Double](repeating: 0, count: n))
    let (lr, b1, b2, epsilon, decay, clip) = (0.01, 0.9, 0.999, 1e-8, 0.1, 0.5)
    for step in 1...5 {
      let g = numbers(n, "g\(step)", range: 0.1)
      let correction1 = 1 - pow(b1, Double(step))
      let correction2 = 1 - pow(b2, Double(step))
      gora_adamw(
        &p, g, &m, &v, n, Float(clip), Float(lr), Float(b1), Float(b2), Float(epsilon), Float(decay), Float(correction1),
        Float(correction2))
      for i in 0..<n {
        let gradient = Double(g[i]) * clip
        pd[i] -= lr * decay * pd[i]
        md[i] = b1 * md[i] + (1 - b1) * gradient
        vd[i] = b2 * vd[i] + (1 - b2) * gradient * gradient
        pd[i] -= lr * (md[i] / correction1) / ((vd[i] / correction2).squareRoot() + epsilon)
      }
    }
    for (value, expected) in zip(p, pd) { #expect(abs(Double(value) - expected) < 1e-6) }
    #expect(relativeError(Array(m.dropLast()), md) < 1e-6)
    #expect(relativeError(Array(v.dropLast()), vd) < 2e-5)
    #expect(p.last == canary && m.last == canary && v.last == canary)
  }
}
