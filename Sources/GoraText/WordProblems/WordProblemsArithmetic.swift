import GoraCore

/// Text a base model learns arithmetic from: statements, comparisons and one-step stories, in the stories' words.
enum ArithmeticText {
  /// Four to six items, one a line.
  static func paragraph(_ random: inout Random) -> String {
    (0..<random.integer(in: 4...6)).map { _ in item(&random) }.joined(separator: "\n")
  }

  private static func item(_ r: inout Random) -> String {
    switch r.below(4) {
    case 0: equation(&r)
    case 1: sentence(&r)
    default: story(&r)
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

  private static func product(_ r: inout Random) -> (Int, Int) {
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

  private static func story(_ r: inout Random) -> String {
    let (p, q) = r.two(of: Words.people)
    let item = r.element(of: Words.things + Words.goods)
    let food = r.element(of: Words.food)
    let goods = r.element(of: Words.goods)
    let box = r.element(of: Words.containers)
    let (a, b) = (r.integer(in: 2...60), r.integer(in: 2...40))
    let (x, y) = product(&r)
    switch r.below(14) {
    case 0:
      return "\(p.name) has \(a) \(item.many). \(p.subject) buys \(b) more \(item.many). "
        + "How many \(item.many) does \(p.name) have now?\n"
        + "Now \(p.name) has \(a)+\(b) = \(item.counted(a + b))."
    case 1:
      return "\(p.name) has \(a + b) \(item.many). \(p.subject) gives \(b) of them to \(q.name). "
        + "How many \(item.many) does \(p.name) have left?\n"
        + "\(p.name) has \(a + b)-\(b) = \(item.counted(a)) left."
    case 2:
      return "\(p.name) has \(x) \(box.many) with \(y) \(item.many) in each \(box.one). How many \(item.many) is that in all?\n"
        + "In all there are \(x)*\(y) = \(item.counted(x * y))."
    case 3:
      return "\(p.name) shares \(x * y) \(item.many) equally among \(y) friends. "
        + "Each friend gets \(x * y)/\(y) = \(item.counted(x))."
    case 4:
      return "\(p.name) buys \(y) \(goods.many) for \(x) dollars each. "
        + "The \(y) \(goods.many) cost \(y)*\(x) = \(Words.dollar.counted(x * y))."
    case 5:
      return "\(p.name) is \(a) years old. \(q.name) is \(b) years older than \(p.name). "
        + "\(q.name) is \(a)+\(b) = \(a + b) years old."
    case 6:
      return "\(p.name) is \(a + b) years old. \(q.name) is \(b) years younger than \(p.name). "
        + "\(q.name) is \(a + b)-\(b) = \(a) years old."
    case 7:
      return "\(p.name) has \(x) \(item.many). \(q.name) has \(Words.times(y)) as many \(item.many) as \(p.name). "
        + "\(q.name) has \(x)*\(y) = \(item.counted(x * y))."
    case 8:
      return "\(p.name) sold \(2 * a) \(goods.many) on Monday and half as many on Tuesday. "
        + "On Tuesday \(p.name) sold \(2 * a)/2 = \(goods.counted(a))."
    case 9:
      return "\(p.name) reads \(x) pages each day for \(y) days. "
        + "In \(y) days \(p.name) reads \(x)*\(y) = \(Words.page.counted(x * y))."
    case 10:
      return "\(p.name) has \(a) \(item.many) and \(q.name) has \(b) \(item.many). "
        + "Together they have \(a)+\(b) = \(item.counted(a + b))."
    case 11:
      return "There are \(a + b) \(food.many) in a \(box.one). \(p.name) eats \(b) of them. "
        + "There are \(a + b)-\(b) = \(food.counted(a)) left."
    case 12:
      return "\(p.name) makes \(x) dollars each hour. "
        + "In \(y) hours \(p.pronoun) makes \(x)*\(y) = \(Words.dollar.counted(x * y))."
    default:
      return "\(p.name) has \(a) dollars and needs \(a + b) dollars. "
        + "\(p.subject) needs \(a + b)-\(a) = \(Words.dollar.counted(b)) more."
    }
  }
}
