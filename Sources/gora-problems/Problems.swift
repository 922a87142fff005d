import ArgumentParser
import Glibc
import GoraCLI
import GoraCore
import GoraFormats
import GoraText

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

  @Option(
    help: """
      problems (the default): multi-step questions with worked answers; chains: such questions of another kind, changes to one \
      amount; arithmetic: statements and one-step stories; equations: calculator annotations alone.
      """)
  var kind: WordProblems.Kind?

  @Option(help: "train or test.")
  var split: WordProblems.Split = .train

  @Flag(help: "Train a tokenizer on --count rows of each kind with words instead, and write its tokenizer.json.")
  var tokenizer = false

  @Option(
    help: ArgumentHelp("Tokens of that tokenizer: <s>, </s>, 256 bytes, merges.", valueName: "vocab", standard: 512),
    transform: count(from: 258, to: 1 << 20))
  var vocab: Int?

  @Option(help: "Problems of the first so many forms only.", transform: count())
  var forms: Int?

  @Option(
    name: .customLong("count"), help: ArgumentHelp("Rows to write.", valueName: "count", standard: 1000),
    transform: count(from: 0))
  var rowCount = 1000

  @Option(help: "Seed of the random numbers.")
  var seed: UInt64 = 0

  @Option(name: .shortAndLong, help: "Output file; - is stdout.")
  var output = "-"

  func run() throws {
    do throws(GoraError) {
      if tokenizer {
        try refuseIdle(["--kind": kind != nil, "--forms": forms != nil], goWith: "rows, --tokenizer takes all kinds")
      } else {
        try refuseIdle(["--vocab": vocab != nil], goWith: "--tokenizer")
        if kind ?? .problems != .problems { try refuseIdle(["--forms": forms != nil], goWith: "--kind problems") }
      }
      try write(tokenizer ? try trainedTokenizer() : try lines())
    } catch {
      writeError("gora-problems: error: \(error)\n" + (error.hint.map { "gora-problems: hint: \($0)\n" } ?? ""))
      throw ExitCode(error.status.rawValue)
    }
  }

  private func lines() throws(GoraError) -> String {
    var problems = WordProblems(kind: kind ?? .problems, split: split, seed: seed, forms: forms)
    return try problems.rows(rowCount).map { WordProblems.line($0) + "\n" }.joined()
  }

  private func trainedTokenizer() throws(GoraError) -> String {
    var text: [String] = []
    // Equations have no words, and the others have their signs.
    for kind in WordProblems.Kind.allCases where kind != .equations {
      var problems = WordProblems(kind: kind, split: split, seed: seed)
      text += try problems.rows(rowCount).map(WordProblems.text)
    }
    return BPETrainer.train(text: text, vocabularySize: vocab ?? 512, specialTokens: ["<s>", "</s>"]).pretty()
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
