import Glibc

/// Numbers as people read them; files never go through here.
package enum NumberText {
  /// `12.35` for (12.345, 2); a point whatever the locale.
  package static func fixed(_ value: Double, _ decimals: Int) -> String { format("%.\(decimals)f", value) }

  /// Three significant digits: `0.00123`, `12.3`, `4.56e-08`.
  package static func significant(_ value: Double, _ digits: Int = 3) -> String { format("%.\(digits)g", value) }

  /// `950`, `12.3 k`, `20.1 M`, `8.03 G`.
  package static func scaled(_ value: Double) -> String {
    var rest = value
    for unit in ["", " k", " M", " G"] {
      if rest < 999.5 || unit == " G" {
        if unit.isEmpty, rest == rest.rounded() { return fixed(rest, 0) }
        return fixed(rest, rest < 9.995 ? 2 : rest < 99.95 ? 1 : 0) + unit
      }
      rest /= 1000
    }
    return fixed(value, 0)
  }

  /// `scaled` of a count.
  package static func count(_ value: Int) -> String { scaled(Double(value)) }

  /// `6,815,744`.
  package static func grouped(_ value: Int) -> String {
    let digits = String(value.magnitude)
    var out = value < 0 ? "-" : ""
    for (i, digit) in digits.enumerated() {
      if i > 0, (digits.count - i) % 3 == 0 { out += "," }
      out.append(digit)
    }
    return out
  }

  /// The same of a mean or a sum of counts, rounded.
  package static func grouped(_ value: Double) -> String {
    abs(value) < 1e15 ? grouped(Int(value.rounded())) : significant(value)
  }

  /// `7 s`, `2:41` minutes, `1:02:03` hours.
  package static func duration(_ seconds: Double) -> String {
    guard seconds.isFinite, seconds < 1e9 else { return "?" }
    let total = Int(max(0, seconds).rounded())
    if total < 60 { return "\(total) s" }
    func two(_ n: Int) -> String { n < 10 ? "0\(n)" : "\(n)" }
    if total < 3600 { return "\(total / 60):\(two(total % 60))" }
    return "\(total / 3600):\(two(total / 60 % 60)):\(two(total % 60))"
  }

  private static func format(_ pattern: String, _ value: Double) -> String {
    var buffer = [CChar](repeating: 0, count: 400)
    let count = withVaList([value]) { vsnprintf(&buffer, buffer.count, pattern, $0) }
    return String(decoding: buffer.prefix(max(0, Int(count))).map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}
