import GoraCore

// Composition in words of its own: what the forms ask is put together from the same steps, but no form is among these.
extension Story {
  /// An amount, one to three changes of it in any order, and a question about what it came to.
  static func chain(_ r: inout Random) -> Story {
    var s = Story()
    let (p, q) = r.two(of: Words.people)
    let item = r.element(of: Words.things + Words.goods)
    var amount: Int
    switch r.below(4) {
    case 0:
      let (boxes, each) = ArithmeticText.product(&r)
      let box = r.element(of: Words.containers)
      s.question = "\(p.name) takes \(boxes) \(box.many) of \(each) \(item.many)."
      amount = s.step("\(p.name) takes", boxes, "*", each, item)
    case 1:
      let (count, factor) = (r.integer(in: 2...20), r.integer(in: 2...6))
      s.question = "\(q.name) has \(count) \(item.many) and \(p.name) has \(Words.times(factor)) as many."
      amount = s.step("\(p.name) has", count, "*", factor, item)
    default:
      amount = r.integer(in: 4...90)
      s.question = "At first \(p.name) has \(amount) \(item.many)."
    }
    for _ in 0..<r.integer(in: 1...3) { amount = s.change(of: amount, item, p, q, &r) }
    s.close(amount, item, p, q, &r)
    return s
  }

  /// One change: its sentence, its one or two steps, and the amount after it.
  private mutating func change(
    of amount: Int, _ item: Words.Noun, _ p: Words.Person, _ q: Words.Person, _ r: inout Random
  ) -> Int {
    let now = r.element(of: ["Then \(p.name) has", "Now \(p.pronoun) has", "That makes"])
    let few = r.integer(in: 2...40)
    switch r.below(8) {
    case 0:
      question += " " + r.element(of: ["\(p.subject) gets \(few) more.", "\(q.name) gives \(p.name) \(few) more \(item.many)."])
      return step(now, amount, "+", few, item)
    case 1:
      question += " " + r.element(of: ["\(few) of them are lost.", "\(p.subject) gives \(q.name) \(few) of them."])
      return step(now, amount, "-", few, item)
    case 2, 3:
      let (days, daily) = (r.integer(in: 2...9), r.integer(in: 2...12))
      let isMore = r.coin()
      question += " For \(days) days \(p.pronoun) \(isMore ? "makes" : "sells") \(daily) \(item.many) each day."
      let all = step("In \(days) days that is", days, "*", daily, item)
      return step(now, amount, isMore ? "+" : "-", all, item)
    case 4:
      let (boxes, each) = (r.integer(in: 2...9), r.integer(in: 2...12))
      let box = r.element(of: Words.containers)
      question += " \(p.subject) gets \(boxes) \(box.many) of \(each) \(item.many)."
      let all = step("The \(box.many) have", boxes, "*", each, item)
      return step(now, amount, "+", all, item)
    case 5:
      let factor = r.integer(in: 2...5)
      question += " A friend has \(Words.times(factor)) as many and gives all of them to \(p.name)."
      let all = step("The friend has", amount, "*", factor, item)
      return step(now, amount, "+", all, item)
    case 6:
      question += r.coin() ? " Half of them are lost." : " \(p.subject) gives half of them to \(q.name)."
      return step(now, amount, "/", 2, item)
    default:
      let share = r.element(of: Self.shares)
      let isOff = r.coin()
      question += " \(p.subject) \(isOff ? "sells" : "gets back") \(share.percent)% of that."
      let part = step("The part is", amount, "/", share.divisor, item)
      return step(now, amount, isOff ? "-" : "+", part, item)
    }
  }

  /// What is asked of the amount: itself, or a step more whose number is told at the end or before all else.
  private mutating func close(_ amount: Int, _ item: Words.Noun, _ p: Words.Person, _ q: Words.Person, _ r: inout Random) {
    let number = r.integer(in: 2...40)
    let fact: String
    switch r.below(5) {
    case 0:
      fact = "\(p.name) needs \(amount + number) \(item.many)."
      tell(fact, "How many more does \(p.name) need?", &r)
      _ = step("\(p.name) needs", amount + number, "-", amount, item, "more")
    case 1:
      fact = "On the shelf of \(q.name) are \(number) \(item.many)."
      tell(fact, "How many \(item.many) is that together?", &r)
      _ = step("Together that is", amount, "+", number, item)
    case 2:
      let friends = r.integer(in: 2...6)
      question += " All are shared equally among \(friends) people. How many does each get?"
      _ = step("Each gets", amount, "/", friends, item)
    default: question += r.coin() ? " How many are there now?" : " How many \(item.many) does \(p.name) have in the end?"
    }
  }

  private mutating func tell(_ fact: String, _ asked: String, _ r: inout Random) {
    question = r.coin() ? "\(fact) \(question) \(asked)" : "\(question) \(fact) \(asked)"
  }
}
