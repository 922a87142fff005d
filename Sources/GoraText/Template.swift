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
  /// What LLM-Adapters and DoRA train with on commonsense_170k, white space included.
  case commonsense
  /// What they evaluate with, which differs from that in white space.
  case commonsenseEval
  /// `<|im_start|>role … <|im_end|>`.
  case chatml
  /// Llama 3's headers.
  case llama3
  /// The checkpoint's own.
  case tokenizer(ChatTemplates)
  /// The user's own file.
  case file(TemplateFile)

  package static let names = [
    "plain", "alpaca", "metamath", "commonsense", "commonsense-eval", "chatml", "llama3", "tokenizer",
  ]

  /// The template of a name other than `tokenizer`; nil where `name` is none.
  package init?(named name: String) {
    switch name {
    case "plain": self = .plain
    case "alpaca": self = .alpaca
    case "metamath": self = .metamath
    case "commonsense": self = .commonsense
    case "commonsense-eval": self = .commonsenseEval
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
    case .commonsense: "commonsense"
    case .commonsenseEval: "commonsense-eval"
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
    let wrapped = kinds.filter(\.isWrapped)
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
    case .plain, .alpaca, .metamath, .commonsense, .commonsenseEval, .tokenizer, .file: nil
    }
  }

  /// The pieces of a task: what was said before it, prompt, then answer.
  ///
  /// - Throws: status 65 where the row has what the template cannot say.
  func segments(_ task: Instruction) throws(GoraError) -> [TemplateSegment] {
    switch self {
    case .chatml, .llama3, .tokenizer: return try segments(task.conversation)
    case .plain, .alpaca, .metamath, .commonsense, .commonsenseEval, .file:
      // Refuses what only a checkpoint's template can say.
      _ = try task.conversation.plain(for: name)
      var pieces: [TemplateSegment] = []
      var system = task.system
      for past in task.history {
        pieces += exchange(
          Instruction(kind: task.kind, instruction: Self.joined(system, past.request), response: past.response), isLearnt: false)
        system = ""
      }
      var last = task
      last.instruction = Self.joined(system, task.instruction)
      return pieces + exchange(last, isLearnt: true)
    }
  }

  /// The pieces of a chat; an assistant turn is learnt with its end token, unless the data say that it is not. What follows the last
  /// one is left out.
  ///
  /// The checkpoint's own template has none: its text is rendered and tokenised whole.
  ///
  /// - Throws: status 65 where the chat has what the template cannot say.
  func segments(_ chat: Conversation) throws(GoraError) -> [TemplateSegment] {
    switch self {
    case .chatml: return Self.chatml(try chat.plain(for: name))
    case .llama3: return Self.llama3(try chat.plain(for: name))
    case .plain, .alpaca, .metamath, .commonsense, .commonsenseEval, .file:
      return exchanges(try chat.plain(for: name))
    case .tokenizer: return []
    }
  }

  /// A request in the template's one form, and its answer.
  private func exchange(_ task: Instruction, isLearnt: Bool) -> [TemplateSegment] {
    let (prompt, answer) =
      switch self {
      case .alpaca: (Self.alpacaPrompt(task), task.response)
      case .commonsense, .commonsenseEval: (Self.commonsensePrompt(task, isTraining: self == .commonsense), task.response)
      case .metamath:
        (Self.withoutInput + "### Instruction:\n" + task.request + "\n\n### Response: Let's think step by step.", task.response)
      case .file(let file):
        (file.prompt(instruction: task.instruction, input: task.input), task.response + file.ending)
      case .plain, .chatml, .llama3, .tokenizer:
        (task.kind == .completion ? task.instruction : task.request + "\n", task.response)
      }
    return [TemplateSegment(text: prompt), TemplateSegment(text: answer, isLearnt: isLearnt, isEnded: true)]
  }

  private static func joined(_ system: String, _ request: String) -> String {
    system.isEmpty ? request : request.isEmpty ? system : system + "\n" + request
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

  // MARK: Commonsense

  /// The prompts of `finetune.py` and of `commonsense_evaluate.py`, texts in an indented source: the lines are indented by 16 blanks, in
  /// training the empty ones too.
  private static func commonsensePrompt(_ task: Instruction, isTraining: Bool) -> String {
    let indent = String(repeating: " ", count: 16)
    let gap = isTraining ? "\n\(indent)\n\(indent)" : "\n\n\(indent)"
    let blanks = (isTraining ? 1 : 0) + (task.input.isEmpty ? 1 : 0)
    var text = (task.input.isEmpty ? withoutInput : withInput).dropLast(2) + String(repeating: " ", count: blanks)
    text += "\n\n\(indent)### Instruction:\n\(indent)\(task.instruction)"
    if !task.input.isEmpty { text += "\(gap)### Input:\n\(indent)\(task.input)" }
    return text + "\(gap)### Response:\n\(indent)"
  }

  // MARK: Chat

  private static func chatml(_ turns: [PlainTurn]) -> [TemplateSegment] {
    var pieces: [TemplateSegment] = []
    var between = ""
    for turn in turns {
      pieces.append(TemplateSegment(text: "\(between)<|im_start|>\(turn.role.rawValue)\n"))
      pieces.append(TemplateSegment(text: turn.text + "<|im_end|>", isLearnt: turn.isLearnt))
      between = "\n"
    }
    return pieces
  }

  private static func llama3(_ turns: [PlainTurn]) -> [TemplateSegment] {
    var pieces: [TemplateSegment] = []
    for turn in turns {
      pieces.append(TemplateSegment(text: "<|start_header_id|>\(turn.role.rawValue)<|end_header_id|>\n\n"))
      pieces.append(TemplateSegment(text: turn.text.pythonStripped + "<|eot_id|>", isLearnt: turn.isLearnt))
    }
    return pieces
  }

  /// Templates that know questions and answers only: each assistant turn answers what was said since the last one.
  private func exchanges(_ turns: [PlainTurn]) -> [TemplateSegment] {
    var pieces: [TemplateSegment] = []
    var system = ""
    var said: [String] = []
    for turn in turns {
      switch turn.role {
      case .system: system = Self.joined(system, turn.text)
      case .user: said.append(turn.text)
      case .assistant:
        let request = Self.joined(system, said.joined(separator: "\n"))
        pieces += exchange(
          Instruction(kind: .instruction, instruction: request, response: turn.text), isLearnt: turn.isLearnt)
        system = ""
        said = []
      }
    }
    return pieces
  }
}
