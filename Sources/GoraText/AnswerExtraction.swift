import Glibc
import GoraCore

/// How the number is found in a GSM8K answer (`--extractor`).
package enum AnswerExtractor: String, Sendable, CaseIterable {
  /// Ours: marks first, then the last number; numbers are compared as numbers.
  case gora
  /// MetaMath's eval_gsm8k.py, with its flaw: "1,234,567" is read as 1234, and fractions are rounded to integers.
  case metamath
  /// LoRA-GA's and LoRA-Pro's, with their flaws: "1,200" is read as 1, and a failure counts as 0.
  case loraga
}

/// A number found in an answer.
package struct ExtractedAnswer: Sendable, Equatable {
  package enum Source: String, Sendable {
    case theAnswerIs = "the answer is"
    case hashes = "####"
    case lastNumber = "last number"
    /// Nothing was found and the extractor says 0.
    case nothing
  }
  package var value: Double
  package var source: Source
}

extension AnswerExtractor {
  /// The reference number of a row's `answer`, after `####`; nil where it has none.
  package func gold(_ answer: String) -> Double? {
    let gold: Double? =
      switch self {
      case .gora:
        // Rows of other data sets have no mark; their answers are read as predictions are.
        Self.afterHashes(answer).flatMap { Self.firstNumber(Self.without($0, ",$")) } ?? Self.ours(answer)?.value
      case .metamath:
        Self.afterHashes(answer).flatMap { Double(Self.stripped(Self.without($0, ","))) }
      case .loraga: Self.digitsAfterHashes(answer) ?? 0
      }
    // More digits than a number of the machine has are none.
    return gold.flatMap { $0.isFinite ? $0 : nil }
  }

  /// The number a model's answer ends in; nil where none is found.
  package func prediction(_ text: String) -> ExtractedAnswer? {
    let answer: ExtractedAnswer? =
      switch self {
      case .gora: Self.ours(text)
      case .metamath: Self.metaMath(text).map { ExtractedAnswer(value: $0, source: .theAnswerIs) }
      case .loraga:
        Self.digitsAfterHashes(text).map { ExtractedAnswer(value: $0, source: .hashes) }
          ?? ExtractedAnswer(value: 0, source: .nothing)
      }
    return answer.flatMap { $0.value.isFinite ? $0 : nil }
  }

  /// Whether a prediction counts as right: within 1e-4·max(1, |gold|) for `gora`, equal for the others.
  package func isCorrect(_ prediction: Double, gold: Double) -> Bool {
    switch self {
    case .gora: abs(prediction - gold) <= 1e-4 * max(1, abs(gold))
    case .metamath, .loraga: prediction == gold
    }
  }

  /// Whether the answer in `text` is that of the reference `answer`; without a number on either side it is not.
  package func isCorrect(_ text: String, reference answer: String) -> Bool {
    guard let gold = gold(answer), let found = prediction(text) else { return false }
    return isCorrect(found.value, gold: gold)
  }

  // MARK: Ours

  private static func ours(_ text: String) -> ExtractedAnswer? {
    let bytes = without(text, "$")
    if let mark = bytes.ranges(of: Array("The answer is:".utf8)).last {
      return firstNumber(bytes[mark.upperBound...]).map { ExtractedAnswer(value: $0, source: .theAnswerIs) }
    }
    // The first: a model that does not stop goes on with another question and its answer.
    if let mark = bytes.firstRange(of: hashes) {
      return firstNumber(bytes[mark.upperBound...]).map { ExtractedAnswer(value: $0, source: .hashes) }
    }
    var last: Double?
    var rest = bytes[...]
    while let match = number(in: rest) {
      last = match.value
      rest = rest[match.end...]
    }
    return last.map { ExtractedAnswer(value: $0, source: .lastNumber) }
  }

  /// First match of `-?[0-9][0-9,]*(\.[0-9]+)?`.
  private static func number(in bytes: ArraySlice<UInt8>) -> (value: Double, end: Int)? {
    guard var start = bytes.firstIndex(where: isDigit) else { return nil }
    var end = start
    if start > bytes.startIndex, bytes[start - 1] == UInt8(ascii: "-") { start -= 1 }
    while end < bytes.endIndex, isDigit(bytes[end]) || bytes[end] == UInt8(ascii: ",") { end += 1 }
    if end + 1 < bytes.endIndex, bytes[end] == UInt8(ascii: "."), isDigit(bytes[end + 1]) {
      end += 1
      while end < bytes.endIndex, isDigit(bytes[end]) { end += 1 }
    }
    let digits = bytes[start..<end].filter { $0 != UInt8(ascii: ",") }
    return Double(String(decoding: digits, as: UTF8.self)).map { ($0, end) }
  }

  private static func firstNumber(_ bytes: some Sequence<UInt8>) -> Double? {
    number(in: Array(bytes)[...])?.value
  }

  // MARK: MetaMath

  /// After the last "The answer is: ", the first match of `[\-+]?\d*[\.,/]?\d+`, rounded half to even as Python does.
  private static func metaMath(_ text: String) -> Double? {
    let bytes = Array(text.utf8)
    guard let mark = bytes.ranges(of: Array("The answer is: ".utf8)).last else { return nil }
    var at = mark.upperBound
    while at < bytes.count {
      var end = at
      if bytes[end] == UInt8(ascii: "-") || bytes[end] == UInt8(ascii: "+") { end += 1 }
      let digits = end
      while end < bytes.count, isDigit(bytes[end]) { end += 1 }
      let wholeEnd = end
      if end + 1 < bytes.count, ".,/".utf8.contains(bytes[end]), isDigit(bytes[end + 1]) {
        let separator = bytes[end]
        end += 1
        while end < bytes.count, isDigit(bytes[end]) { end += 1 }
        if separator == UInt8(ascii: "/") {
          return fraction(bytes[at..<wholeEnd], over: bytes[(wholeEnd + 1)..<end])
        }
      } else if wholeEnd == digits {
        at += 1
        continue
      }
      return rounded(Double(String(decoding: bytes[at..<end].filter { $0 != UInt8(ascii: ",") }, as: UTF8.self)))
    }
    return nil
  }

  private static func fraction(_ numerator: ArraySlice<UInt8>, over denominator: ArraySlice<UInt8>) -> Double? {
    guard let a = Double(String(decoding: numerator, as: UTF8.self)),
      let b = Double(String(decoding: denominator, as: UTF8.self))
    else { return nil }
    return rounded(b == 0 ? a : a / b)
  }

  private static func rounded(_ value: Double?) -> Double? {
    guard let value, value.isFinite else { return nil }
    return value.rounded(.toNearestOrEven)
  }

  // MARK: LoRA-GA

  /// First match of `####\s*(\d+)`, as an integer.
  private static func digitsAfterHashes(_ text: String) -> Double? {
    let bytes = Array(text.utf8)
    var from = 0
    while let mark = bytes[from...].firstRange(of: hashes) {
      var start = mark.upperBound
      while start < bytes.count, isSpace(bytes[start]) { start += 1 }
      var end = start
      while end < bytes.count, isDigit(bytes[end]) { end += 1 }
      if end > start { return Double(String(decoding: bytes[start..<end], as: UTF8.self)) }
      // A longer run of hashes may still match one place on.
      from = mark.lowerBound + 1
    }
    return nil
  }

  // MARK: Text

  private static let hashes = Array("####".utf8)
  private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }
  private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }

  private static func without(_ text: String, _ dropped: String) -> [UInt8] {
    text.utf8.filter { !dropped.utf8.contains($0) }
  }

  /// Without surrounding white space, which Python's `int` passes over.
  private static func stripped(_ bytes: [UInt8]) -> String {
    guard let first = bytes.firstIndex(where: { !isSpace($0) }), let last = bytes.lastIndex(where: { !isSpace($0) }) else {
      return ""
    }
    return String(decoding: bytes[first...last], as: UTF8.self)
  }

  /// The text after the first `####`; nil where there is none.
  private static func afterHashes(_ text: String) -> String? {
    let bytes = Array(text.utf8)
    return bytes.firstRange(of: hashes).map { String(decoding: bytes[$0.upperBound...], as: UTF8.self) }
  }
}

/// The Wilson score interval of a share (Wilson 1927), at 95 % unless told otherwise.
///
/// - Parameters:
///   - z: the normal quantile of the level.
/// - Returns: bounds in [0, 1]; the whole of it for no trials.
package func wilsonInterval(successes: Int, of trials: Int, z: Double = 1.959963984540054) -> ClosedRange<Double> {
  precondition(successes >= 0 && successes <= trials)
  return wilsonInterval(mean: trials == 0 ? 0 : Double(successes) / Double(trials), of: trials, z: z)
}

/// The same for the mean of numbers in [0, 1], such as estimates of a chance: their variance is at most mean · (1 − mean), that of a share, so
/// that the interval is wide enough.
package func wilsonInterval(mean p: Double, of trials: Int, z: Double = 1.959963984540054) -> ClosedRange<Double> {
  precondition((0...1).contains(p) && trials >= 0)
  guard trials > 0 else { return 0...1 }
  let n = Double(trials)
  let center = (p + z * z / (2 * n)) / (1 + z * z / n)
  let half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)).squareRoot()
  // Exact at the ends, where rounding would leave 1e-17.
  return (p == 0 ? 0 : max(0, center - half))...(p == 1 ? 1 : min(1, center + half))
}
