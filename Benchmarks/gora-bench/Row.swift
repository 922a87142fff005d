/// One line of the tables that stand beside the peer.
struct Row: Sendable {
  enum Work: String, Sendable { case grad, train, generate }

  var name: String
  var work: Work
  var preset: ModelPreset
  var isBFloat16: Bool
  var batch: Int
  /// Tokens of a sequence; of a prompt where tokens are generated. Real rows have their own lengths.
  var tokens: Int
  var usesRealRows = false
  /// Steps that count, or rounds of generation; one more warms up.
  var steps: Int
  /// Speed over the peer's: the least that is wanted, and what is aimed for.
  var target: (least: Double, aim: Double)

  /// New tokens a prompt.
  static let newTokens = 128
  static let rank = 8

  var dtype: String { isBFloat16 ? "bf16" : "f32" }

  static let all: [Row] = [
    row("grad-110m-f32", .grad, "110m", false, 1, 512, 4, (2.3, 3.2)),
    row("train-110m-f32", .train, "110m", false, 1, 512, 4, (2.3, 3.2)),
    row("grad-110m-bf16", .grad, "110m", true, 1, 512, 4, (1.5, 1.8)),
    row("train-110m-bf16", .train, "110m", true, 1, 512, 4, (1.5, 1.8)),
    row("grad-15m-bf16", .grad, "15m", true, 8, 256, 6, (2.5, 3)),
    row("train-15m-bf16", .train, "15m", true, 8, 256, 6, (2.5, 3)),
    row("grad-330m-bf16", .grad, "tinyllama-quarter", true, 1, 512, 4, (1.25, 1.5)),
    row("train-330m-bf16", .train, "tinyllama-quarter", true, 1, 512, 4, (1.25, 1.5)),
    row("grad-gsm8k-15m-bf16", .grad, "15m", true, 8, 512, 8, (5, 8), realRows: true),
    row("train-gsm8k-15m-bf16", .train, "15m", true, 8, 512, 8, (5, 8), realRows: true),
    row("grad-gsm8k-135m-bf16", .grad, "135m", true, 8, 512, 4, (4, 5), realRows: true),
    row("train-gsm8k-135m-bf16", .train, "135m", true, 8, 512, 4, (4, 5), realRows: true),
    row("generate-110m-bf16", .generate, "110m", true, 8, 64, 2, (5, 6)),
    row("generate-one-135m-bf16", .generate, "135m", true, 1, 64, 4, (2.5, 4)),
  ]

  private static func row(
    _ name: String, _ work: Work, _ preset: String, _ isBFloat16: Bool, _ batch: Int, _ tokens: Int, _ steps: Int,
    _ target: (Double, Double), realRows: Bool = false
  ) -> Row {
    Row(
      name: name, work: work, preset: .known(preset), isBFloat16: isBFloat16, batch: batch, tokens: tokens,
      usesRealRows: realRows, steps: steps, target: target)
  }
}

/// Which tables are wanted: `all`, `quick`, or words such as `grad`, `110m-bf16`, `scaling`.
struct Selection {
  private let words: [String]

  init(_ text: String) { words = text.split { $0 == "," || $0 == " " }.map(String.init) }

  /// Tables that are no rows beside the peer.
  static let others = ["floor", "scaling", "startup", "chat", "gguf", "8b"]
  private static let quick = ["grad-110m-bf16", "train-110m-bf16"]

  /// A name is wanted where some of its dash-separated words in a row are one of the selection's.
  func wants(_ name: String) -> Bool {
    words.contains { word in
      switch word {
      // The 8B model needs a disk: it comes only by its name.
      case "all": name != "8b"
      case "quick": Self.quick.contains(name)
      case "rows": !Self.others.contains(name)
      default: "-\(name)-".contains("-\(word)-")
      }
    }
  }

  var rows: [Row] { Row.all.filter { wants($0.name) } }

  /// The first word that wants nothing.
  var unknown: String? {
    words.first { word in
      let one = Selection(word)
      return one.rows.isEmpty && !Self.others.contains(where: one.wants)
    }
  }
}
