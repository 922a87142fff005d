import GoraCore

/// One multi-step problem in the making: its question, and the answer's lines as the steps are worked out.
struct Story {
  var question = ""
  private(set) var lines: [String] = []
  private var isSound = true
  private var last = 0

  /// The whole answer in GSM8K's form; nil where a step left the range 0..<1000 or did not divide evenly.
  var answer: String? {
    isSound && (2...4).contains(lines.count) ? lines.joined(separator: "\n") + "\n#### \(last)" : nil
  }

  /// Works out `a op b` and writes it as a line that restates both: `before a op b = <<a op b=c>>c noun after.`
  mutating func step(_ before: String, _ a: Int, _ op: Character, _ b: Int, _ noun: Words.Noun, _ after: String = "") -> Int {
    let result: Int
    switch op {
    case "+": result = a + b
    case "-": result = a - b
    case "*": result = a * b
    default:
      // A quotient with a remainder is no step of these stories.
      if b == 0 || a % b != 0 { isSound = false }
      result = b == 0 ? 0 : a / b
    }
    if !(0..<1000).contains(result) { isSound = false }
    let ending = after.isEmpty ? "." : " \(after)."
    lines.append("\(before) \(a)\(op)\(b) = <<\(a)\(op)\(b)=\(result)>>\(noun.counted(result))\(ending)")
    last = result
    return result
  }

  /// A share of round numbers as people say it, with what to divide by.
  static let shares: [(percent: Int, divisor: Int)] = [(50, 2), (25, 4), (20, 5), (10, 10)]

  /// The forms a problem may take.
  static let forms: [@Sendable (inout Random) -> Story] = [
    change, twoGoods, twoGoodsChange, shared, ages, agesTogether, threeCollections, halfSold, walked, drove, wages, packed,
    percentSold, eggs, saved, pagesRead, bus, chairs, pagesLeft, discount, animalsSold, givenAway,
  ]

  /// A problem of one of the first `count` forms; of all where it is nil.
  static func problem(_ random: inout Random, of count: Int?) -> Story {
    forms[random.below(min(count ?? forms.count, forms.count))](&random)
  }
}

// Numbers are small and never 1 where they are given: a small model has to learn every fact it meets.
extension Story {
  @Sendable private static func change(_ r: inout Random) -> Story {
    var s = Story()
    let p = r.element(of: Words.people)
    let item = r.element(of: Words.goods)
    let count = r.integer(in: 2...9)
    let price = r.integer(in: 2...9)
    let money = count * price + r.integer(in: 2...40)
    s.question =
      r.coin()
      ? "\(p.name) has \(money) dollars. \(p.subject) goes to the shop and buys \(count) \(item.many) for \(price) dollars each. "
        + "How many dollars does \(p.name) have left?"
      : "\(p.name) takes \(money) dollars to the market. Each \(item.one) costs \(price) dollars and \(p.pronoun) buys \(count) of them. "
        + "How much money does \(p.name) have left?"
    let cost = s.step("The \(count) \(item.many) cost", count, "*", price, Words.dollar)
    _ = s.step("\(p.name) has", money, "-", cost, Words.dollar, "left")
    return s
  }

  @Sendable private static func twoGoods(_ r: inout Random) -> Story { purchase(&r, pays: false) }
  @Sendable private static func twoGoodsChange(_ r: inout Random) -> Story { purchase(&r, pays: true) }

  private static func purchase(_ r: inout Random, pays: Bool) -> Story {
    var s = Story()
    let p = r.element(of: Words.people)
    let (x, y) = r.two(of: Words.goods)
    let (a, b) = (r.integer(in: 2...9), r.integer(in: 2...9))
    let (priceX, priceY) = (r.integer(in: 2...9), r.integer(in: 2...9))
    let given = a * priceX + b * priceY + r.integer(in: 2...30)
    let opening =
      r.coin()
      ? "\(p.name) buys \(a) \(x.many) for \(priceX) dollars each and \(b) \(y.many) for \(priceY) dollars each."
      : "At the shop a \(x.one) costs \(priceX) dollars and a \(y.one) costs \(priceY) dollars. \(p.name) buys \(a) \(x.many) and \(b) \(y.many)."
    s.question =
      opening
      + (pays
        ? " \(p.subject) pays with \(given) dollars. How many dollars does \(p.pronoun) get back?"
        : " How many dollars does \(p.name) pay in all?")
    let costX = s.step("The \(a) \(x.many) cost", a, "*", priceX, Words.dollar)
    let costY = s.step("The \(b) \(y.many) cost", b, "*", priceY, Words.dollar)
    let total = s.step("Together they cost", costX, "+", costY, Words.dollar)
    if pays { _ = s.step("\(p.name) gets back", given, "-", total, Words.dollar) }
    return s
  }

  @Sendable private static func shared(_ r: inout Random) -> Story {
    var s = Story()
    let (p, q) = r.two(of: Words.people)
    let item = r.element(of: Words.things)
    let friends = r.integer(in: 2...6)
    let total = friends * r.integer(in: 3...12)
    let a = r.integer(in: 2...(total - 2))
    s.question =
      "\(p.name) has \(a) \(item.many) and \(q.name) has \(total - a) \(item.many). "
      + (r.coin()
        ? "They put them together and share them equally among \(friends) friends. How many \(item.many) does each friend get?"
        : "They put all of them into \(friends) bags with the same number in each bag. How many \(item.many) are in each bag?")
    let sum = s.step("Together they have", a, "+", total - a, item)
    _ = s.step(s.question.contains("friends") ? "Each friend gets" : "Each bag has", sum, "/", friends, item)
    return s
  }

  @Sendable private static func ages(_ r: inout Random) -> Story {
    var s = Story()
    let (p, q) = r.two(of: Words.people)
    let age = r.integer(in: 4...30)
    let gap = r.integer(in: 2...20)
    let later = r.integer(in: 2...15)
    let isOlder = gap + 2 > age || r.coin()
    s.question =
      "\(p.name) is \(age) years old. \(q.name) is \(gap) years \(isOlder ? "older" : "younger") than \(p.name). "
      + "How old will \(q.name) be in \(later) years?"
    let now = s.step("\(q.name) is", age, isOlder ? "+" : "-", gap, Words.year, "old now")
    _ = s.step("In \(later) years \(q.name) will be", now, "+", later, Words.year, "old")
    return s
  }

  @Sendable private static func agesTogether(_ r: inout Random) -> Story {
    var s = Story()
    let (p, q, o) = r.three(of: Words.people)
    let age = r.integer(in: 3...15)
    let factor = r.integer(in: 2...4)
    let gap = r.integer(in: 2...10)
    s.question =
      "\(p.name) is \(age) years old. \(q.name) is \(Words.times(factor)) as old as \(p.name). "
      + "\(o.name) is \(gap) years older than \(q.name). "
    let second = s.step("\(q.name) is", age, "*", factor, Words.year, "old")
    let third = s.step("\(o.name) is", second, "+", gap, Words.year, "old")
    if r.coin() {
      s.question += "How old are \(p.name) and \(o.name) together?"
      _ = s.step("Together \(p.name) and \(o.name) are", age, "+", third, Words.year, "old")
    } else {
      s.question += "How many years older is \(o.name) than \(p.name)?"
      _ = s.step("\(o.name) is", third, "-", age, Words.year, "older than \(p.name)")
    }
    return s
  }

  @Sendable private static func threeCollections(_ r: inout Random) -> Story {
    var s = Story()
    let (p, q, o) = r.three(of: Words.people)
    let item = r.element(of: Words.things)
    let count = r.integer(in: 3...15)
    let factor = r.integer(in: 2...5)
    let more = r.integer(in: 2...(count * factor - 2))
    let hasMore = r.coin()
    s.question =
      "\(p.name) has \(count) \(item.many). \(q.name) has \(Words.times(factor)) as many \(item.many) as \(p.name). "
      + "\(o.name) has \(more) \(hasMore ? "more" : "fewer") \(item.many) than \(q.name). "
    let second = s.step("\(q.name) has", count, "*", factor, item)
    let third = s.step("\(o.name) has", second, hasMore ? "+" : "-", more, item)
    if r.coin() {
      s.question += "How many \(item.many) does \(o.name) have?"
    } else {
      s.question += "How many \(item.many) do \(q.name) and \(o.name) have together?"
      _ = s.step("Together \(q.name) and \(o.name) have", second, "+", third, item)
    }
    return s
  }

  @Sendable private static func halfSold(_ r: inout Random) -> Story {
    var s = Story()
    let p = r.element(of: Words.people)
    let item = r.element(of: Words.goods)
    let day = r.below(Words.days.count - 2)
    let (first, second, third) = (Words.days[day], Words.days[day + 1], Words.days[day + 2])
    let isHalf = r.coin()
    let a = isHalf ? 2 * r.integer(in: 2...30) : r.integer(in: 3...30)
    let hasThird = r.coin()
    let c = r.integer(in: 2...30)
    s.question =
      "\(p.name) sold \(a) \(item.many) on \(first) and \(isHalf ? "half" : "twice") as many \(item.many) on \(second). "
      + (hasThird ? "\(p.subject) sold \(c) \(item.many) on \(third). " : "")
      + "How many \(item.many) did \(p.name) sell in all?"
    let b = s.step("On \(second) \(p.name) sold", a, isHalf ? "/" : "*", 2, item)
    let two = s.step("On \(first) and \(second) \(p.name) sold", a, "+", b, item)
    if hasThird { _ = s.step("In all \(p.name) sold", two, "+", c, item) }
    return s
  }

  @Sendable private static func walked(_ r: inout Random) -> Story {
    var s = Story()
    let p = r.element(of: Words.people)
    let miles = r.integer(in: 2...9)
    let days = r.integer(in: 2...6)
    let more = r.integer(in: 2...20)
    let verb = r.element(of: ["walks", "runs"])
    s.question =
      r.coin()
      ? "\(p.name) \(verb) \(miles) miles each day for \(days) days. On the next day \(p.pronoun) \(verb) \(more) miles. "
        + "How many miles is that in all?"
      : "Each day \(p.name) \(verb) \(miles) miles to school and back. After \(days) days \(p.pronoun) also \(verb) \(more) miles on Saturday. "
        + "How many miles is that in all?"
    let first = s.step("In \(days) days \(p.name) \(verb)", miles, "*", days, Words.mile)
    _ = s.step("In all that is", first, "+", more, Words.mile)
    return s
  }

  @Sendable private static func drove(_ r: inout Random) -> Story {
    var s = Story()
    let p = r.element(of: Words.people)
    let speed = r.element(of: [5, 10, 20, 30, 40, 50])
    let (a, b) = (r.integer(in: 2...5), r.integer(in: 2...5))
    let vehicle = r.element(of: ["bus", "train"])
    s.question =
      "A \(vehicle) goes \(speed) miles each hour. \(p.name) is on the \(vehicle) for \(a) hours in the morning and "
      + "\(b) hours in the afternoon. How many miles does \(p.name) go?"
    let hours = s.step("The time is", a, "+", b, Words.hour)
    _ = s.step("\(p.name) goes", speed, "*", hours, Words.mile)
    return s
  }

  @Sendable private static func wages(_ r: inout Random) -> Story {
    var s = Story()
    let p = r.element(of: Words.people)
    let wage = r.integer(in: 2...12)
    let hours = r.integer(in: 2...8)
    let days = r.integer(in: 2...5)
    let total = wage * hours * days
    let spends = r.integer(in: 2...min(total - 2, 60))
    s.question =
      "\(p.name) works \(hours) hours each day and makes \(wage) dollars each hour. After \(days) days of work "
      + "\(p.pronoun) spends \(spends) dollars. How many dollars does \(p.pronoun) have left?"
    let day = s.step("Each day \(p.name) makes", wage, "*", hours, Words.dollar)
    let all = s.step("In \(days) days \(p.name) makes", day, "*", days, Words.dollar)
    _ = s.step("\(p.name) has", all, "-", spends, Words.dollar, "left")
    return s
  }

  @Sendable private static func packed(_ r: inout Random) -> Story {
    var s = Story()
    let (p, q) = r.two(of: Words.people)
    let item = r.element(of: Words.things)
    let box = r.element(of: Words.containers)
    let (boxes, each) = (r.integer(in: 2...9), r.integer(in: 3...12))
    let bags = r.integer(in: 2...5)
    let given = boxes * each - bags * r.integer(in: 1...max(1, (boxes * each - 2) / bags))
    s.question =
      "\(p.name) has \(boxes) \(box.many) with \(each) \(item.many) in each \(box.one). "
      + "\(p.subject) gives \(given) \(item.many) to \(q.name) and shares the rest equally among \(bags) friends. "
      + "How many \(item.many) does each friend get?"
    guard given >= 2 else { return s }
    let all = s.step("\(p.name) has", boxes, "*", each, item)
    let rest = s.step("After the gift \(p.name) has", all, "-", given, item)
    _ = s.step("Each friend gets", rest, "/", bags, item)
    return s
  }

  @Sendable private static func percentSold(_ r: inout Random) -> Story {
    var s = Story()
    let item = r.element(of: Words.goods)
    let share = r.element(of: shares)
    let count = share.divisor * r.integer(in: 2...10) * (share.divisor == 2 ? 2 : 1)
    let sold = r.integer(in: 2...max(2, count / 3))
    s.question =
      "There are \(count) \(item.many) in a shop. On Monday \(share.percent)% of the \(item.many) are sold. "
      + "On Tuesday \(sold) more \(item.many) are sold. How many \(item.many) are left in the shop?"
    let first = s.step("On Monday the shop sells", count, "/", share.divisor, item)
    let rest = s.step("After Monday there are", count, "-", first, item, "left")
    _ = s.step("After Tuesday there are", rest, "-", sold, item, "left")
    return s
  }

  @Sendable private static func eggs(_ r: inout Random) -> Story {
    var s = Story()
    let p = r.element(of: Words.people)
    let (total, price, days) = (r.integer(in: 8...30), r.integer(in: 2...5), r.integer(in: 2...5))
    let eaten = r.integer(in: 2...6)
    let egg = Words.Noun("egg")
    let hasDays = r.coin()
    s.question =
      "The hens of \(p.name) lay \(total) eggs each day. \(p.subject) eats \(eaten) eggs each day and sells the rest "
      + "for \(price) dollars each. How many dollars does \(p.name) make \(hasDays ? "in \(days) days" : "each day")?"
    let rest = s.step("\(p.name) sells", total, "-", eaten, egg, "each day")
    let day = s.step("Each day \(p.name) makes", rest, "*", price, Words.dollar)
    if hasDays { _ = s.step("In \(days) days \(p.name) makes", day, "*", days, Words.dollar) }
    return s
  }

  @Sendable private static func saved(_ r: inout Random) -> Story {
    var s = Story()
    let p = r.element(of: Words.people)
    let item = r.element(of: Words.goods)
    let (weekly, weeks, before) = (r.integer(in: 2...12), r.integer(in: 2...9), r.integer(in: 2...30))
    let price = weekly * weeks + before + r.integer(in: 2...30)
    s.question =
      "\(p.name) wants to buy a \(item.one) that costs \(price) dollars. \(p.subject) has \(before) dollars and saves \(weekly) dollars "
      + "each week for \(weeks) weeks. How many more dollars does \(p.name) need?"
    let saved = s.step("In \(weeks) weeks \(p.name) saves", weekly, "*", weeks, Words.dollar)
    let has = s.step("Then \(p.name) has", before, "+", saved, Words.dollar)
    _ = s.step("\(p.name) needs", price, "-", has, Words.dollar, "more")
    return s
  }

  @Sendable private static func pagesRead(_ r: inout Random) -> Story {
    var s = Story()
    let p = r.element(of: Words.people)
    let (first, factor, more) = (r.integer(in: 3...20), r.integer(in: 2...3), r.integer(in: 2...15))
    s.question =
      "\(p.name) reads \(first) pages on Monday. On Tuesday \(p.pronoun) reads \(Words.times(factor)) as many pages as on Monday. "
      + "On Wednesday \(p.pronoun) reads \(more) more pages than on Tuesday. How many pages does \(p.name) read in the three days?"
    let second = s.step("On Tuesday \(p.name) reads", first, "*", factor, Words.page)
    let third = s.step("On Wednesday \(p.name) reads", second, "+", more, Words.page)
    let two = s.step("On Monday and Tuesday \(p.name) reads", first, "+", second, Words.page)
    _ = s.step("In the three days \(p.name) reads", two, "+", third, Words.page)
    return s
  }

  @Sendable private static func bus(_ r: inout Random) -> Story {
    var s = Story()
    let start = r.integer(in: 8...40)
    let off = r.integer(in: 2...(start - 3))
    let on = r.integer(in: 2...20)
    let person = Words.Noun("person", "people")
    let vehicle = r.element(of: ["bus", "train"])
    let halfLeave = (start - off + on) % 2 == 0 && r.coin()
    s.question =
      "There are \(start) people on a \(vehicle). At the first stop \(off) people get off and \(on) people get on. "
      + (halfLeave ? "At the next stop half of the people get off. " : "")
      + "How many people are on the \(vehicle) now?"
    let rest = s.step("After \(off) people get off there are", start, "-", off, person)
    let next = s.step("After \(on) people get on there are", rest, "+", on, person)
    if halfLeave { _ = s.step("After half of them get off there are", next, "/", 2, person) }
    return s
  }

  @Sendable private static func chairs(_ r: inout Random) -> Story {
    var s = Story()
    let (rows, each) = (r.integer(in: 3...12), r.integer(in: 3...12))
    let empty = r.integer(in: 2...(rows * each - 2))
    let chair = Words.Noun("chair")
    s.question =
      r.coin()
      ? "A room has \(rows) rows of chairs with \(each) chairs in each row. People sit on the chairs but \(empty) chairs are empty. "
        + "How many chairs are not empty?"
      : "There are \(rows) rows with \(each) chairs in each row in a school. In the morning \(empty) chairs are empty. "
        + "How many chairs are not empty?"
    let all = s.step("In all there are", rows, "*", each, chair)
    _ = s.step("There are", all, "-", empty, chair, "that are not empty")
    return s
  }

  @Sendable private static func pagesLeft(_ r: inout Random) -> Story {
    var s = Story()
    let p = r.element(of: Words.people)
    let (daily, days) = (r.integer(in: 3...12), r.integer(in: 2...9))
    let pages = daily * days + r.integer(in: 2...60)
    s.question =
      r.coin()
      ? "A book has \(pages) pages. \(p.name) reads \(daily) pages each day for \(days) days. How many pages are left for \(p.name) to read?"
      : "\(p.name) has a book with \(pages) pages. For \(days) days \(p.pronoun) reads \(daily) pages each day. How many pages are left?"
    let read = s.step("In \(days) days \(p.name) reads", daily, "*", days, Words.page)
    _ = s.step("There are", pages, "-", read, Words.page, "left")
    return s
  }

  @Sendable private static func discount(_ r: inout Random) -> Story {
    var s = Story()
    let p = r.element(of: Words.people)
    let item = r.element(of: Words.goods)
    let share = r.element(of: shares)
    let price = share.divisor * r.integer(in: 2...6)
    let count = r.integer(in: 2...6)
    s.question =
      "A \(item.one) costs \(price) dollars. Today the shop takes \(share.percent)% off the price. \(p.name) buys \(count) \(item.many) today. "
      + "How many dollars does \(p.name) pay?"
    let off = s.step("The shop takes off", price, "/", share.divisor, Words.dollar)
    let now = s.step("Now each \(item.one) costs", price, "-", off, Words.dollar)
    _ = s.step("\(p.name) pays", count, "*", now, Words.dollar)
    return s
  }

  @Sendable private static func animalsSold(_ r: inout Random) -> Story {
    var s = Story()
    let p = r.element(of: Words.people)
    let (x, y) = r.two(of: Words.animals)
    let (a, factor) = (r.integer(in: 3...15), r.integer(in: 2...4))
    let sold = r.integer(in: 2...(a * factor))
    let animal = Words.Noun("animal")
    s.question =
      "\(p.name) has \(a) \(x.many) and \(Words.times(factor)) as many \(y.many) as \(x.many). "
      + "\(p.subject) sells \(sold) of the animals at the market. How many animals does \(p.name) have now?"
    let b = s.step("\(p.name) has", a, "*", factor, y)
    let all = s.step("In all \(p.name) has", a, "+", b, animal)
    _ = s.step("Now \(p.name) has", all, "-", sold, animal)
    return s
  }

  @Sendable private static func givenAway(_ r: inout Random) -> Story {
    var s = Story()
    let (p, q) = r.two(of: Words.people)
    let item = r.element(of: Words.food)
    let box = r.element(of: Words.containers)
    let (start, boxes, each) = (r.integer(in: 4...20), r.integer(in: 2...6), r.integer(in: 2...10))
    let (eaten, given) = (r.integer(in: 2...6), r.integer(in: 2...20))
    s.question =
      "\(p.name) has \(start) \(item.many) and buys \(boxes) \(box.many) with \(each) \(item.many) in each \(box.one). "
      + "\(p.subject) eats \(eaten) of them and gives \(given) of them to \(q.name). How many \(item.many) does \(p.name) have now?"
    let bought = s.step("\(p.name) buys", boxes, "*", each, item)
    let all = s.step("Then \(p.name) has", start, "+", bought, item)
    let rest = s.step("After eating \(p.name) has", all, "-", eaten, item)
    _ = s.step("Now \(p.name) has", rest, "-", given, item)
    return s
  }
}
