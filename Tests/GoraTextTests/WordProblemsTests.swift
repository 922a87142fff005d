import GoraCore
import Testing

@testable import GoraText

private func problems(_ kind: WordProblems.Kind, _ split: WordProblems.Split, _ count: Int, seed: UInt64 = 0) throws -> [DataRow]
{
  var generator = WordProblems(kind: kind, split: split, seed: seed)
  return try generator.rows(count)
}

private func calculate(_ a: Substring, _ op: Substring, _ b: Substring) -> Int? {
  guard let a = Int(a), let b = Int(b) else { return nil }
  switch op {
  case "+": return a + b
  case "-": return a - b
  case "*": return a * b
  case "/": return b != 0 && a % b == 0 ? a / b : nil
  default: return nil
  }
}

@Suite struct WordProblemsTests {
  @Test(arguments: [WordProblems.Kind.problems, .chains])
  func everyStepAndEveryAnswerIsRight(kind: WordProblems.Kind) throws {
    let annotation = /(\d+)([-+*\/])(\d+) = <<(\d+)([-+*\/])(\d+)=(\d+)>>(\d+) [a-z]/
    for row in try problems(kind, .train, 5000) {
      guard case .instruction(let task) = row else {
        Issue.record("not a task")
        return
      }
      let lines = task.response.split(separator: "\n")
      let steps = lines.dropLast()
      #expect((2...4).contains(steps.count))
      var known = Set(task.instruction.matches(of: /\d+/).map(\.output))
      if task.instruction.contains("twice") || task.instruction.lowercased().contains("half") { known.insert("2") }
      // "50% of" divides by 2, and so on.
      for match in task.instruction.matches(of: /(\d+)%/) { known.insert(Substring(String(100 / (Int(match.1) ?? 1)))) }
      var last: Substring = ""
      for line in steps {
        let match = try #require(line.firstMatch(of: annotation), "\(line)")
        let (a, op, b, result) = (match.4, match.5, match.6, match.7)
        #expect(match.1 == a && match.2 == op && match.3 == b && match.8 == result, "\(line)")
        #expect(calculate(a, op, b) == Int(result), "\(line)")
        #expect((0..<1000).contains(Int(result) ?? -1), "\(line)")
        // Every quantity was given or worked out before.
        #expect(known.contains(a) && known.contains(b), "\(task.instruction) | \(line)")
        known.insert(result)
        last = result
      }
      #expect(lines.last == "#### \(last)")
      #expect(AnswerExtractor.gora.gold(task.response) == Double(last))
      #expect(task.instruction.hasSuffix("?"))
    }
  }

  @Test func everyEquationOfTheArithmeticTextIsRight() throws {
    let equation = /(\d+) ?([-+*\/]) ?(\d+) = (\d+)/
    var count = 0
    for row in try problems(.arithmetic, .train, 3000) + problems(.equations, .train, 300) {
      guard case .text(let text) = row else {
        Issue.record("not a text")
        return
      }
      for match in text.matches(of: /<<(\d+)([-+*\/])(\d+)=(\d+)>>(\d*)/) {
        #expect(calculate(match.1, match.2, match.3) == Int(match.4), "\(match.0)")
        if text.contains(" ") { #expect(match.4 == match.5, "\(match.0)") }
        count += 1
      }
      if let result = text.firstMatch(of: /#### (\d+)$/) { #expect(text.contains("=\(result.1)>>")) }
      for match in text.matches(of: equation) {
        #expect(calculate(match.1, match.2, match.3) == Int(match.4), "\(match.0)")
        count += 1
      }
      for match in text.matches(of: /(\d+) more than (\d+) is (\d+)/) {
        #expect(calculate(match.1, "+", match.2) == Int(match.3))
      }
      for match in text.matches(of: /(\d+) less than (\d+) is (\d+)/) {
        #expect(calculate(match.2, "-", match.1) == Int(match.3))
      }
      for match in text.matches(of: /(\d+) shared equally among (\d+) is (\d+)/) {
        #expect(calculate(match.1, "/", match.2) == Int(match.3))
      }
      for match in text.matches(of: /(\d+)% of (\d+) is (\d+)/) {
        #expect((Int(match.1) ?? 0) * (Int(match.2) ?? 0) == 100 * (Int(match.3) ?? -1))
      }
    }
    #expect(count > 6000)
  }

  @Test(arguments: WordProblems.Kind.allCases)
  func equalSeedsGiveEqualRows(kind: WordProblems.Kind) throws {
    let rows = try problems(kind, .train, 200, seed: 7)
    #expect(try problems(kind, .train, 200, seed: 7) == rows)
    #expect(try Array(problems(kind, .train, 300, seed: 7).prefix(200)) == rows)
    #expect(try problems(kind, .train, 200, seed: 8) != rows)
    // A fixed row: the same bytes on every machine and in every release.
    if kind == .problems { #expect(WordProblems.line(rows[0]) == firstLine) }
  }
  private let firstLine =
    #"{"question":"Emma is 15 years old. Mia is 4 times as old as Emma. David is 3 years older than Mia. "#
    + #"How old are Emma and David together?","answer":"Mia is 15*4 = <<15*4=60>>60 years old.\nDavid is "#
    + #"60+3 = <<60+3=63>>63 years old.\nTogether Emma and David are 15+63 = <<15+63=78>>78 years old.\n#### 78"}"#

  @Test(arguments: WordProblems.Kind.allCases)
  func splitsShareNoRow(kind: WordProblems.Kind) throws {
    func keys(_ split: WordProblems.Split, seed: UInt64) throws -> [String] {
      try problems(kind, split, 4000, seed: seed).map { row in
        switch row {
        case .instruction(let task): task.instruction
        case .text(let text): text
        default: ""
        }
      }
    }
    let train = try keys(.train, seed: 0)
    let test = try keys(.test, seed: 0) + keys(.test, seed: 1)
    #expect(Set(train).count == 4000)
    #expect(Set(train).isDisjoint(with: test))
  }

  @Test func theVocabularyIsSmall() throws {
    var words: Set<Substring> = []
    for kind in WordProblems.Kind.allCases {
      for row in try problems(kind, .train, 5000) {
        for match in WordProblems.line(row).replacing(#"\n"#, with: " ").matches(of: /[A-Za-z]+/) { words.insert(match.output) }
      }
    }
    #expect(words.count > 100)
    #expect(words.count <= 400, "\(words.count)")
  }

  /// A base that has learnt chains has seen no problem of the task: not one question in common, names and numbers left out.
  @Test func chainsAreOfOtherWordsThanProblems() throws {
    func wordings(_ kind: WordProblems.Kind) throws -> Set<String> {
      var all: Set<String> = []
      for row in try problems(kind, .train, 5000) {
        guard case .instruction(let task) = row else { continue }
        for sentence in task.instruction.replacing(/\d+/, with: "N").split(separator: ".") {
          var words = String(sentence).trimmingPrefix(" ").split(separator: " ").map(String.init)
          for index in words.indices where names.contains(words[index].filter(\.isLetter)) { words[index] = "P" }
          all.insert(words.joined(separator: " "))
        }
      }
      return all
    }
    let shared = try wordings(.problems).intersection(wordings(.chains))
    #expect(shared.isEmpty, "\(shared.sorted())")
  }
  private let names = Set(Words.people.map(\.name))

  @Test func everyFormOccurs() throws {
    #expect(Story.forms.count >= 12)
    for form in Story.forms {
      var random = Random(seed: 1, stream: "forms")
      let answers = (0..<50).map { _ in form(&random) }.filter { $0.answer != nil }
      #expect(answers.count > 20)
    }
  }

  @Test func aSmallTokenizerEncodesThemShortly() throws {
    let text = try WordProblems.Kind.allCases.flatMap { try problems($0, .train, 1000).map(WordProblems.text) }
    let json = BPETrainer.train(text: text, vocabularySize: 512, specialTokens: ["<s>", "</s>"]).compact()
    let tokenizer = try Tokenizer(bytes: Array(json.utf8), path: "tokenizer.json")
    let encoder = RowEncoder(encoder: tokenizer, bos: 0, eos: 1, template: nil, maxLength: 256)
    let rows = try problems(.problems, .test, 500)
    let encoded = try encoder.encode(DataRows(rows: rows, places: rows.map { _ in .file("problems") }))
    #expect(encoded.rows.count == 500 && encoded.cut == 0)
    let mean = Double(encoded.rows.reduce(0) { $0 + $1.ids.count }) / 500
    #expect(mean < 150, "\(mean) tokens")
    #expect(tokenizer.decode(encoded.rows[0].ids) == WordProblems.text(rows[0]))
  }
}
