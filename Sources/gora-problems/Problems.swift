import ArgumentParser
import GoraCore
import GoraFormats
import GoraText

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

extension WordProblems.Kind: ExpressibleByArgument {}
extension WordProblems.Split: ExpressibleByArgument {}

/// Writes made-up word problems and arithmetic text for experiments on small models.
@main
struct Problems: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "gora-problems",
    abstract: "Make word problems in GSM8K's format, or arithmetic text to pretrain a small model on.",
    discussion: """
      gora-problems --kind problems --split train --count 20000 -o train.jsonl
      gora-problems --kind arithmetic --count 100000 | zstd > base.jsonl.zst
      gora-problems --tokenizer --vocab 512 -o tokenizer.json

      The same options give the same rows. No row of one split is in the other, whatever the seeds are.
      """)

  @Option(help: "problems: multi-step questions with worked answers; arithmetic: statements and one-step stories.")
  var kind: WordProblems.Kind = .problems

  @Option(help: "train or test.")
  var split: WordProblems.Split = .train

  @Flag(help: "Train a tokenizer on --count rows of each kind instead, and write its tokenizer.json.")
  var tokenizer = false

  @Option(help: "Tokens of that tokenizer: <s>, </s>, 256 bytes, merges.")
  var vocab = 512

  @Option(help: "Problems of the first so many forms only.")
  var forms: Int?

  @Option(help: "Rows to write.")
  var count = 1000

  @Option(help: "Seed of the random numbers.")
  var seed: UInt64 = 0

  @Option(name: .shortAndLong, help: "Output file; - is stdout.")
  var output = "-"

  func validate() throws {
    if count < 0 { throw ValidationError("--count is \(count); expected 0 or more") }
    if let forms, forms < 1 { throw ValidationError("--forms is \(forms); expected 1 or more") }
    if vocab < 258 { throw ValidationError("--vocab is \(vocab); expected 258 (<s>, </s> and the bytes) or more") }
  }

  func run() throws {
    do throws(GoraError) {
      try write(tokenizer ? try trainedTokenizer() : try lines())
    } catch {
      writeError("gora-problems: error: \(error)\n" + (error.hint.map { "gora-problems: hint: \($0)\n" } ?? ""))
      throw ExitCode(error.status.rawValue)
    }
  }

  private func lines() throws(GoraError) -> String {
    var problems = WordProblems(kind: kind, split: split, seed: seed, forms: forms)
    return try problems.rows(count).map { WordProblems.line($0) + "\n" }.joined()
  }

  private func trainedTokenizer() throws(GoraError) -> String {
    var text: [String] = []
    for kind in WordProblems.Kind.allCases {
      var problems = WordProblems(kind: kind, split: split, seed: seed)
      text += try problems.rows(count).map(WordProblems.text)
    }
    return BPETrainer.train(text: text, vocabularySize: vocab, specialTokens: ["<s>", "</s>"]).pretty()
  }

  private func write(_ text: String) throws(GoraError) {
    guard output == "-" else { return try AtomicFile.write(path: output, text: text) }
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      let written = rest.withUnsafeBytes { Glibc.write(1, $0.baseAddress, $0.count) }
      if written < 0, errno == EINTR { continue }
      guard written > 0 else { throw GoraError(.io, at: .file("stdout"), String(cString: strerror(errno))) }
      rest = rest.dropFirst(written)
    }
  }
}

private func writeError(_ text: String) {
  _ = text.withCString { Glibc.write(2, $0, strlen($0)) }
}
