import GoraFormats
import Testing

@testable import GoraText

/// Where regular expressions cut, against HF `tokenizers` (Tests/Fixtures/tokenizer/make_splits.py).
struct TokenizerSplitTests {
  private let root: JSONField
  private let texts: [String]

  init() throws {
    root = try JSONDocument(path: "splits.json", text: readWholeFile("\(tokenizerFixtures)/splits.json")).root
    texts = try root.required("texts").elements.map { try $0.string }
  }

  @Test func expressionsCutAsHuggingFaceDoes() throws {
    var byHand = 0
    for entry in try root.required("splits").elements {
      let text = try entry.required("expression").string
      let behavior = try #require(TokenizerSplitBehavior(rawValue: entry.required("behavior").string))
      var patterns: [TokenizerPattern] = [.expression(try #require(RegularExpression(text, dialect: .oniguruma)))]
      // Those that are matched by hand, too.
      if let known = TokenizerPattern.known.first(where: { $0.regex == text }) {
        patterns.append(known.pattern)
        byHand += 1
      }
      for (source, cuts) in zip(texts, try entry.required("cuts").elements) {
        let ends = try cuts.ints
        let expected = stride(from: 0, to: ends.count, by: 2).map { ends[$0]..<ends[$0 + 1] }
        for pattern in patterns {
          var pieces = TextPieces(AlignedText(Array(source.utf8), tracksSources: false))
          pieces.split(TokenizerSplit(pattern: pattern, behavior: behavior))
          #expect(pieces.ranges == expected, "\(text): \(source.debugDescription)")
        }
      }
    }
    #expect(byHand == TokenizerPattern.known.count)
  }

  @Test func otherExpressionsAreRefused() throws {
    for text in try root.required("refused").elements.map({ try $0.string }) {
      let expression = RegularExpression(text, dialect: .oniguruma)
      #expect(expression == nil || expression?.matchesNothing == true, "\(text)")
    }
  }
}
