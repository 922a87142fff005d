import GoraText
import Testing

@Suite struct AnswerExtractionTests {
  // Expected values were worked out with Python's `re` from the patterns of the scripts themselves.
  @Test(
    arguments: [
      // text, gora, metamath, loraga
      ("#### 18", 18, nil, 18),
      ("so 9 * 2 = 18\n#### 18.", 18, nil, 18),
      ("#### 1,200", 1200, nil, 1),
      ("#### -5", -5, nil, 0),
      ("#### $3.50", 3.5, nil, 0),
      ("#### 1,234,567", 1_234_567, nil, 1),
      ("####5 #### 6", 5, nil, 5),
      ("##### 7", 7, nil, 7),
      ("The answer is: 1,234,567", 1_234_567, 1234, 0),
      ("The answer is: 12,345", 12345, 12345, 0),
      ("The answer is: $-5", -5, -5, 0),
      ("The answer is: 3.50", 3.5, 4, 0),
      ("The answer is: 2.5", 2.5, 2, 0),
      ("The answer is: 3/4", 3, 1, 0),
      ("The answer is: 7/2", 7, 4, 0),
      ("The answer is: 5/0", 5, 5, 0),
      ("The answer is: 18.", 18, 18, 0),
      ("The answer is: +18", 18, 18, 0),
      ("The answer is: .75", 75, 1, 0),
      ("The answer is:18", 18, nil, 0),
      ("The answer is: 4\nThe answer is: 6 apples", 6, 6, 0),
      ("#### 3\nThe answer is: 4", 4, 4, 3),
      ("The answer is: unknown", nil, nil, 0),
      ("He has 16-3 = 13 eggs and sells 1,200 of them, or so.", 1200, nil, 0),
      ("no number", nil, nil, 0),
      ("", nil, nil, 0),
    ] as [(String, Double?, Double?, Double?)])
  func predictions(text: String, gora: Double?, metamath: Double?, loraga: Double?) {
    #expect(AnswerExtractor.gora.prediction(text)?.value == gora)
    #expect(AnswerExtractor.metamath.prediction(text)?.value == metamath)
    #expect(AnswerExtractor.loraga.prediction(text)?.value == loraga)
  }

  /// More digits than a number can have are no number, on either side.
  @Test func endlessDigits() {
    let digits = String(repeating: "9", count: 400)
    for extractor in AnswerExtractor.allCases {
      for text in ["#### \(digits)", "The answer is: \(digits)", "\(digits)", "The answer is: \(digits)/2"] {
        #expect(extractor.prediction(text)?.value.isFinite ?? true, "\(extractor) \(text.prefix(20))")
        #expect(extractor.gold(text)?.isFinite ?? true, "\(extractor) \(text.prefix(20))")
      }
      #expect(!extractor.isCorrect("#### \(digits)", reference: "#### \(digits)"))
    }
  }

  @Test func theSourceIsTold() {
    #expect(AnswerExtractor.gora.prediction("#### 3\nThe answer is: 4")?.source == .theAnswerIs)
    #expect(AnswerExtractor.gora.prediction("2 #### 3")?.source == .hashes)
    #expect(AnswerExtractor.gora.prediction("2 3")?.source == .lastNumber)
    #expect(AnswerExtractor.loraga.prediction("2 3")?.source == .nothing)
  }

  @Test func scoring() {
    #expect(AnswerExtractor.gora.isCorrect("#### 1,200.00", reference: "x\n#### $1200"))
    #expect(AnswerExtractor.gora.isCorrect("#### 99999.9", reference: "#### 100000"))
    #expect(!AnswerExtractor.gora.isCorrect("#### 99", reference: "#### 100"))
    #expect(!AnswerExtractor.gora.isCorrect("no idea", reference: "#### 0"))
    // The known flaws: any failure equals a gold 0, and thousands are lost.
    #expect(AnswerExtractor.loraga.isCorrect("no idea", reference: "#### 0"))
    #expect(AnswerExtractor.loraga.isCorrect("#### 1", reference: "#### 1,200"))
    #expect(AnswerExtractor.metamath.isCorrect("The answer is: 1,200", reference: "#### 1,200"))
    #expect(!AnswerExtractor.metamath.isCorrect("The answer is: 1,234,567", reference: "#### 1,234,567"))
    #expect(!AnswerExtractor.metamath.isCorrect("#### 3", reference: "#### 3"))
  }

  @Test(.enabled(if: shared != nil))
  func everyGSM8KAnswerParses() throws {
    let rows = try DataFile.read([try #require(shared) + "/data/gsm8k/test.jsonl"]).rows
    #expect(rows.count == 1319)
    for row in rows {
      let answer = try #require(row.expectedAnswer)
      // The last line, without the mark and the commas, is the number.
      let last = try #require(answer.split(separator: "\n").last)
      let expected = try #require(Double(String(last.dropFirst(5).filter { $0 != "," })))
      #expect(AnswerExtractor.gora.gold(answer) == expected)
      #expect(AnswerExtractor.metamath.gold(answer) == expected)
      #expect(AnswerExtractor.gora.isCorrect(answer, reference: answer))
    }
  }

  // The bounds p solve (k/n - p)^2 = z^2 p (1 - p) / n; these roots were found by bisection in Python.
  @Test func wilson() {
    let interval = wilsonInterval(successes: 8, of: 10)
    #expect(abs(interval.lowerBound - 0.4901624715) < 1e-9)
    #expect(abs(interval.upperBound - 0.9433178485) < 1e-9)
    #expect(wilsonInterval(successes: 0, of: 0) == 0...1)
    #expect(wilsonInterval(successes: 0, of: 20).lowerBound == 0)
    #expect(abs(wilsonInterval(successes: 0, of: 20).upperBound - 0.1611251581) < 1e-9)
    #expect(wilsonInterval(successes: 20, of: 20).upperBound == 1)
  }
}
