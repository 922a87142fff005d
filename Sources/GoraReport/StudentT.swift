import Glibc

/// Student's distribution, for intervals of means over few runs.
enum StudentT {
  /// The t that lies below which, in size, 95 % of the values of `degrees` degrees of freedom do: 12.706 for 1, 1.96 for many.
  static func bound95(degrees: Int) -> Double {
    precondition(degrees > 0, "no degrees of freedom")
    var (low, high) = (0.0, Double.pi / 2)
    for _ in 0..<60 {
      let middle = (low + high) / 2
      if share(angle: middle, degrees: degrees) < 0.95 { low = middle } else { high = middle }
    }
    return tan((low + high) / 2) * Double(degrees).squareRoot()
  }

  /// P(|T| < √ν·tan θ), a finite sum (Abramowitz and Stegun 26.7.3 and 26.7.4).
  private static func share(angle: Double, degrees: Int) -> Double {
    let (sine, cosine) = (sin(angle), cos(angle))
    let isOdd = degrees % 2 == 1
    var term = isOdd ? cosine : 1
    var sum = degrees == 1 ? 0 : term
    for k in stride(from: isOdd ? 3 : 2, to: degrees, by: 2) {
      term *= Double(k - 1) / Double(k) * cosine * cosine
      sum += term
    }
    return isOdd ? 2 / .pi * (angle + sine * sum) : sine * sum
  }
}
