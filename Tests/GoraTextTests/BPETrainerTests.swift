import GoraFormats
import Testing

import Glibc
@testable import GoraText

let tokenizerFixtures = "/" + #filePath.split(separator: "/").dropLast(2).joined(separator: "/") + "/Fixtures/tokenizer"

struct BPETrainerTests {
  static let lines = [
    "the cat sat on the mat", "the dog ate the hat", "there are 12 cats and 345 dogs; they sat there",
    "She's got 3 apples and he's got 4 apples. How many apples?", "Answer: 3 + 4 = 7", "Answer: 12 * 2 = 24",
    "naïve café, the naïve café", "the end. The end!",
  ]

  static func trained(_ size: Int = 300) throws -> (JSON, Tokenizer) {
    let json = BPETrainer.train(text: lines, vocabularySize: size, specialTokens: ["<s>", "</s>"])
    return (json, try Tokenizer(bytes: Array(json.pretty().utf8), path: "trained"))
  }

  /// The committed file is the one whose ids HF `tokenizers` has confirmed (TokenizerTests).
  @Test func trainsTheCommittedTokenizer() throws {
    let text = try Self.trained().0.pretty()
    let path = "\(tokenizerFixtures)/trained.json"
    if getenv("GORA_UPDATE_FIXTURES") != nil, let file = fopen(path, "w") {
      fputs(text, file)
      fclose(file)
    }
    #expect(try String(decoding: readWholeFile(path), as: UTF8.self) == text)
  }

  @Test func roundTripsAnyText() throws {
    let (_, tokenizer) = try Self.trained()
    for text in ["the cat", "  spaces\n\n", "👍🏽 日本語 e\u{301}", "\u{0}\u{7F}", "3+4=7"] {
      let ids = tokenizer.encode(text)
      #expect(Array(tokenizer.decode(ids).utf8) == Array(text.utf8))
    }
  }

  @Test func digitsStayAlone() throws {
    let (json, tokenizer) = try Self.trained()
    #expect(tokenizer.encode("12345").count == 5)
    #expect(tokenizer.encode("a 12").count == 4)
    for id in 0..<Int32(tokenizer.vocabularySize) {
      let token = try #require(tokenizer.token(id))
      #expect(token.count == 1 || !token.contains(where: \.isNumber), "\(token)")
    }
    #expect(json.pretty().contains("\"Ġthe\""))
  }

  @Test func idsAreInTheStatedOrder() throws {
    let (_, tokenizer) = try Self.trained()
    #expect(tokenizer.id(of: "<s>") == 0)
    #expect(tokenizer.id(of: "</s>") == 1)
    #expect(tokenizer.id(of: "!") == 2)
    #expect(tokenizer.isSpecial(0) && tokenizer.isSpecial(1) && !tokenizer.isSpecial(2))
    #expect(tokenizer.vocabularySize == 300)
    #expect(tokenizer.encode("the", addSpecialTokens: true).first == 0)
    #expect(try Self.trained(10).1.vocabularySize == 258)
  }

  /// Merges worked out by hand: (a, b) stands three times, then (ab, c) twice; nothing else occurs twice.
  @Test func mergesTheMostFrequentPairFirst() throws {
    let json = BPETrainer.train(text: ["abc", "abc", "abd"], vocabularySize: 1000, specialTokens: [])
    let tokenizer = try Tokenizer(bytes: Array(json.compact().utf8), path: "trained")
    #expect(tokenizer.vocabularySize == 258)
    #expect(tokenizer.token(256) == "ab")
    #expect(tokenizer.token(257) == "abc")
  }

  @Test func noTextSpellsASpecialToken() throws {
    let lines = ["<> <> <> <>"]
    let json = BPETrainer.train(text: lines, vocabularySize: 1000, specialTokens: ["<>"])
    let tokenizer = try Tokenizer(bytes: Array(json.compact().utf8), path: "trained")
    // The most frequent pair, < and >, is passed over.
    #expect(tokenizer.vocabularySize == 259)
    #expect(tokenizer.token(257) == "Ġ<")
    #expect(tokenizer.token(258) == "Ġ<>")
  }
}
