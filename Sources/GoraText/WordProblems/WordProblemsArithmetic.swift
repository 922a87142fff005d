import GoraCore

/// Text a base model learns arithmetic and the form of an answer from: problems of one step, equations, comparisons.
enum ArithmeticText {
  /// Half of the texts are one problem of one step, the others three to five items, one a line.
  static func paragraph(_ random: inout Random) -> String {
    if random.coin() { return OneStepStory(&random).problem }
    return (0..<random.integer(in: 3...5)).map { _ in item(&random) }.joined(separator: "\n")
  }

  /// Results as the answers of problems have them, one a line. Sums and differences carry and borrow: three in four are of these.
  static func annotations(_ random: inout Random) -> String {
    (0..<8).map { _ in
      let (a, op, b, result) = random.below(4) == 0 ? operation(&random) : wideSum(&random)
      return "<<\(a)\(op)\(b)=\(result)>>"
    }.joined(separator: "\n")
  }

  /// A sum or difference of two numbers below 150, as several steps lead to.
  private static func wideSum(_ r: inout Random) -> (a: Int, op: String, b: Int, result: Int) {
    let (a, b) = (r.integer(in: 2...149), r.integer(in: 2...99))
    return r.coin() ? (a, "+", b, a + b) : (max(a, b), "-", min(a, b), max(a, b) - min(a, b))
  }

  private static func item(_ r: inout Random) -> String {
    switch r.below(4) {
    case 0: equation(&r)
    case 1: sentence(&r)
    default: OneStepStory(&r).statement
    }
  }

  /// One operation on numbers as the problems use them, and its result.
  private static func operation(_ r: inout Random) -> (a: Int, op: String, b: Int, result: Int) {
    switch r.below(4) {
    case 0:
      let (a, b) = (r.integer(in: 2...99), r.integer(in: 2...60))
      return (a, "+", b, a + b)
    case 1:
      let b = r.integer(in: 2...60)
      let a = b + r.integer(in: 0...90)
      return (a, "-", b, a - b)
    case 2:
      let (a, b) = product(&r)
      return (a, "*", b, a * b)
    default:
      let (b, result) = product(&r)
      return (b * result, "/", b, result)
    }
  }

  static func product(_ r: inout Random) -> (Int, Int) {
    if r.below(6) == 0 { return (r.element(of: [10, 20, 30, 40, 50]), r.integer(in: 2...10)) }
    let (a, b) = (r.integer(in: 2...12), r.integer(in: 2...12))
    // Some larger numbers are doubled, tripled and multiplied by small numbers in the problems.
    return r.below(4) == 0 ? (r.integer(in: 13...60), r.integer(in: 2...5)) : (a, b)
  }

  private static func equation(_ r: inout Random) -> String {
    let (a, op, b, result) = operation(&r)
    return r.coin() ? "\(a)\(op)\(b) = \(result)" : "\(a) \(op) \(b) = \(result)"
  }

  private static func sentence(_ r: inout Random) -> String {
    let n = r.integer(in: 2...60)
    let m = r.integer(in: 2...30)
    switch r.below(10) {
    case 0: return "\(m) more than \(n) is \(n + m)."
    case 1: return "\(m) less than \(n + m) is \(n)."
    case 2: return "Twice \(n) is \(2 * n)."
    case 3: return "Half of \(2 * n) is \(n)."
    case 4:
      let (a, b) = product(&r)
      return "\(b) times \(a) is \(a * b)."
    case 5: return "\(n) and \(m) together are \(n + m)."
    case 6: return "From \(n) to \(n + m) is \(m) more."
    case 7:
      let (a, b) = product(&r)
      return "\(a * b) shared equally among \(b) is \(a) each."
    case 8:
      let share = r.element(of: Story.shares)
      let quotient = r.integer(in: 2...20)
      return "\(share.percent)% of \(share.divisor * quotient) is \(quotient)."
    default:
      let (a, b) = (min(n, m), max(n, m) + 1)
      return r.coin() ? "\(b) is more than \(a)." : "\(a) is less than \(b)."
    }
  }
}
