import GoraCore

/// A story that one operation solves: told as a statement or asked as a problem.
struct OneStepStory {
  private let context: String
  private let question: String
  /// The answer's words before and behind its number.
  private let before: String
  private let behind: String
  private let expression: String
  private let result: Int

  /// `context answer`.
  var statement: String { "\(context) \(answer)" }

  /// Question, answer and `#### result`, as the problems of several steps have them.
  var problem: String { "\(context) \(question)\n\(answer)\n#### \(result)" }

  private var answer: String { "\(before) \(expression) = <<\(expression)=\(result)>>\(behind)" }

  private init(
    _ context: String, _ question: String, _ before: String, _ expression: String, _ result: Int, _ behind: String
  ) {
    self.context = context
    self.question = question
    self.before = before
    self.expression = expression
    self.result = result
    self.behind = behind
  }

  init(_ r: inout Random) {
    let (p, q) = r.two(of: Words.people)
    let item = r.element(of: Words.things + Words.goods)
    let food = r.element(of: Words.food)
    let goods = r.element(of: Words.goods)
    let box = r.element(of: Words.containers)
    let (a, b) = (r.integer(in: 2...60), r.integer(in: 2...40))
    let (x, y) = ArithmeticText.product(&r)
    let dollar = Words.dollar
    switch r.below(14) {
    case 0:
      self.init(
        "\(p.name) has \(a) \(item.many). \(p.subject) buys \(b) more \(item.many).",
        "How many \(item.many) does \(p.name) have now?", "Now \(p.name) has", "\(a)+\(b)", a + b, "\(item.counted(a + b)).")
    case 1:
      self.init(
        "\(p.name) has \(a + b) \(item.many). \(p.subject) gives \(b) of them to \(q.name).",
        "How many \(item.many) does \(p.name) have left?", "\(p.name) has", "\(a + b)-\(b)", a, "\(item.counted(a)) left.")
    case 2:
      self.init(
        "\(p.name) has \(x) \(box.many) with \(y) \(item.many) in each \(box.one).",
        "How many \(item.many) is that in all?", "In all there are", "\(x)*\(y)", x * y, "\(item.counted(x * y)).")
    case 3:
      self.init(
        "\(p.name) shares \(x * y) \(item.many) equally among \(y) friends.",
        "How many \(item.many) does each friend get?", "Each friend gets", "\(x * y)/\(y)", x, "\(item.counted(x)).")
    case 4:
      self.init(
        "\(p.name) buys \(y) \(goods.many) for \(x) dollars each.", "How many dollars does \(p.name) need?",
        "The \(y) \(goods.many) cost", "\(y)*\(x)", x * y, "\(dollar.counted(x * y)).")
    case 5:
      self.init(
        "\(p.name) is \(a) years old. \(q.name) is \(b) years older than \(p.name).", "How old is \(q.name)?",
        "\(q.name) is", "\(a)+\(b)", a + b, "\(a + b) years old.")
    case 6:
      self.init(
        "\(p.name) is \(a + b) years old. \(q.name) is \(b) years younger than \(p.name).", "How old is \(q.name)?",
        "\(q.name) is", "\(a + b)-\(b)", a, "\(a) years old.")
    case 7:
      self.init(
        "\(p.name) has \(x) \(item.many). \(q.name) has \(Words.times(y)) as many \(item.many) as \(p.name).",
        "How many \(item.many) does \(q.name) have?", "\(q.name) has", "\(x)*\(y)", x * y, "\(item.counted(x * y)).")
    case 8:
      self.init(
        "\(p.name) sold \(2 * a) \(goods.many) on Monday and half as many on Tuesday.",
        "How many \(goods.many) did \(p.name) sell on Tuesday?", "On Tuesday \(p.name) sold", "\(2 * a)/2", a,
        "\(goods.counted(a)).")
    case 9:
      self.init(
        "\(p.name) reads \(x) pages each day for \(y) days.", "How many pages does \(p.name) read in all?",
        "In \(y) days \(p.name) reads", "\(x)*\(y)", x * y, "\(Words.page.counted(x * y)).")
    case 10:
      self.init(
        "\(p.name) has \(a) \(item.many) and \(q.name) has \(b) \(item.many).", "How many \(item.many) do they have in all?",
        "Together they have", "\(a)+\(b)", a + b, "\(item.counted(a + b)).")
    case 11:
      self.init(
        "There are \(a + b) \(food.many) in a \(box.one). \(p.name) eats \(b) of them.", "How many \(food.many) are left?",
        "There are", "\(a + b)-\(b)", a, "\(food.counted(a)) left.")
    case 12:
      self.init(
        "\(p.name) makes \(x) dollars each hour.", "How many dollars does \(p.name) make in \(y) hours?",
        "In \(y) hours \(p.pronoun) makes", "\(x)*\(y)", x * y, "\(dollar.counted(x * y)).")
    default:
      self.init(
        "\(p.name) has \(a) dollars and needs \(a + b) dollars.", "How many more dollars does \(p.name) need?",
        "\(p.subject) needs", "\(a + b)-\(a)", b, "\(dollar.counted(b)) more.")
    }
  }
}
