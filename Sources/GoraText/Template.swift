import GoraCore
import GoraFormats

/// How a prompt is wrapped and where its answer ends (`--template`).
package enum Template: Sendable, Equatable {
  /// Question, newline, answer. A prompt/completion row is joined as it stands.
  case plain
  /// Stanford Alpaca's two prompts, with and without input.
  case alpaca
  /// The prompt MetaMath was trained and is evaluated with.
  case metamath
  /// `<|im_start|>role … <|im_end|>`.
  case chatml
  /// Llama 3's headers.
  case llama3
  /// The checkpoint's own.
  case tokenizer(ChatTemplate)
  /// The user's own file.
  case file(TemplateFile)

  package static let names = ["plain", "alpaca", "metamath", "chatml", "llama3", "tokenizer"]

  /// The template of a name other than `tokenizer`; nil where `name` is none.
  package init?(named name: String) {
    switch name {
    case "plain": self = .plain
    case "alpaca": self = .alpaca
    case "metamath": self = .metamath
    case "chatml": self = .chatml
    case "llama3": self = .llama3
    default: return nil
    }
  }

  package var name: String {
    switch self {
    case .plain: "plain"
    case .alpaca: "alpaca"
    case .metamath: "metamath"
    case .chatml: "chatml"
    case .llama3: "llama3"
    case .tokenizer(let own): own.name
    case .file(let file): file.path
    }
  }

  /// The default for a kind of row.
  ///
  /// - Parameter chat: the checkpoint's own chat template, where it has one.
  package static func standard(for kind: RowKind, chat: Template?) -> Template {
    switch kind {
    case .query: .metamath
    case .instruction: .alpaca
    case .chat: chat ?? .chatml
    case .question, .completion, .tokens, .text: .plain
    }
  }

  /// For the start-up line: which template the rows get, and why (`alpaca for instruction/output rows (default)`).
  ///
  /// - Parameter chosen: the user's choice; nil for the defaults.
  package static func explanation(chosen: Template?, kinds: [RowKind], chat: Template?) -> String {
    let wrapped = kinds.filter { $0 != .tokens && $0 != .text }
    if wrapped.isEmpty { return "no template (\(kinds.map(\.rawValue).joined(separator: " and ")) rows)" }
    if let chosen { return "template \(chosen.name)" }
    return wrapped.map { kind in
      let own = kind == .chat && chat != nil ? "the checkpoint's own" : "default"
      return "template \(standard(for: kind, chat: chat).name) for \(kind.rawValue) rows (\(own))"
    }.joined(separator: ", ")
  }
}

/// A stretch of text of a wrapped row.
struct TemplateSegment: Equatable {
  var text: String
  /// Whether its tokens are learnt.
  var isLearnt = false
  /// Whether the tokenizer's end token follows it, and is learnt with it.
  var isEnded = false
}

extension Template {
  /// What an answer ends with where that is text and not the tokenizer's end token.
  var endOfTurn: String? {
    switch self {
    case .chatml: "<|im_end|>"
    case .llama3: "<|eot_id|>"
    case .plain, .alpaca, .metamath, .tokenizer, .file: nil
    }
  }

  /// The pieces of a task: prompt, then answer.
  func segments(_ task: Instruction) -> [TemplateSegment] {
    switch self {
    case .plain: answered(task.kind == .completion ? task.instruction : task.request + "\n", task.response)
    case .alpaca: answered(Self.alpacaPrompt(task), task.response)
    case .metamath:
      answered(
        Self.withoutInput + "### Instruction:\n" + task.request + "\n\n### Response: Let's think step by step.",
        task.response)
    case .chatml, .llama3, .tokenizer: segments(task.turns[...])
    case .file(let file):
      answered(file.prompt(instruction: task.instruction, input: task.input), task.response + file.ending)
    }
  }

  /// The pieces of a chat; every assistant turn is learnt with its end token. What follows the last one is left out.
  ///
  /// The checkpoint's own template has none: its text is rendered and tokenised whole.
  func segments(_ turns: ArraySlice<ChatTurn>) -> [TemplateSegment] {
    switch self {
    case .chatml: Self.chatml(turns)
    case .llama3: Self.llama3(turns)
    case .plain, .alpaca, .metamath, .file: exchanges(turns)
    case .tokenizer: []
    }
  }

  private func answered(_ prompt: String, _ answer: String) -> [TemplateSegment] {
    [TemplateSegment(text: prompt), TemplateSegment(text: answer, isLearnt: true, isEnded: true)]
  }

  // MARK: Alpaca

  private static let withoutInput =
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
  private static let withInput =
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    + "Write a response that appropriately completes the request.\n\n"

  private static func alpacaPrompt(_ task: Instruction) -> String {
    task.input.isEmpty
      ? withoutInput + "### Instruction:\n" + task.instruction + "\n\n### Response:"
      : withInput + "### Instruction:\n" + task.instruction + "\n\n### Input:\n" + task.input + "\n\n### Response:"
  }

  // MARK: Chat

  private static func chatml(_ turns: ArraySlice<ChatTurn>) -> [TemplateSegment] {
    var pieces: [TemplateSegment] = []
    var between = ""
    for turn in turns {
      let opening = "\(between)<|im_start|>\(turn.role.rawValue)\n"
      if turn.role == .assistant {
        pieces.append(TemplateSegment(text: opening))
        pieces.append(TemplateSegment(text: turn.content + "<|im_end|>", isLearnt: true))
      } else {
        pieces.append(TemplateSegment(text: opening + turn.content + "<|im_end|>"))
      }
      between = "\n"
    }
    return joined(pieces)
  }

  private static func llama3(_ turns: ArraySlice<ChatTurn>) -> [TemplateSegment] {
    var pieces: [TemplateSegment] = []
    for turn in turns {
      let opening = "<|start_header_id|>\(turn.role.rawValue)<|end_header_id|>\n\n"
      let content = trimmed(turn.content)
      if turn.role == .assistant {
        pieces.append(TemplateSegment(text: opening))
        pieces.append(TemplateSegment(text: content + "<|eot_id|>", isLearnt: true))
      } else {
        pieces.append(TemplateSegment(text: opening + content + "<|eot_id|>"))
      }
    }
    return joined(pieces)
  }

  /// Templates that know questions and answers only: each assistant turn answers what was said since the last one.
  private func exchanges(_ turns: ArraySlice<ChatTurn>) -> [TemplateSegment] {
    var pieces: [TemplateSegment] = []
    var system = ""
    var said: [String] = []
    for turn in turns {
      switch turn.role {
      case .system: system = turn.content
      case .user: said.append(turn.content)
      case .assistant:
        let request = said.joined(separator: "\n")
        let whole = system.isEmpty ? request : request.isEmpty ? system : system + "\n" + request
        pieces += segments(Instruction(kind: .instruction, instruction: whole, response: turn.content))
        system = ""
        said = []
      }
    }
    return pieces
  }

  /// Neighbours that are not learnt become one segment, so that they are tokenised as one text.
  private static func joined(_ pieces: [TemplateSegment]) -> [TemplateSegment] {
    var result: [TemplateSegment] = []
    for piece in pieces {
      if let last = result.last, !last.isLearnt, !piece.isLearnt {
        result[result.count - 1].text += piece.text
      } else {
        result.append(piece)
      }
    }
    return result
  }

  /// As Python's `strip`: by scalars, so that a mark's blank stays a blank, and with the separators U+001C to U+001F.
  private static func trimmed(_ text: String) -> String {
    func isBlank(_ scalar: Unicode.Scalar) -> Bool {
      scalar.properties.isWhitespace || (0x1C...0x1F).contains(scalar.value)
    }
    var scalars = Substring(text).unicodeScalars
    while let first = scalars.first, isBlank(first) { scalars.removeFirst() }
    while let last = scalars.last, isBlank(last) { scalars.removeLast() }
    return String(scalars)
  }
}
