import GoraCore
import GoraFormats

/// The kinds of rows, told by the row's keys.
package enum RowKind: String, Sendable, CaseIterable {
  case tokens = "input_ids/labels"
  case chat = "chat"
  /// GSM8K's `question`/`answer`, and the `input`/`output` of GoRA's own data files.
  case question = "question/answer"
  /// MetaMathQA.
  case query = "query/response"
  /// Alpaca, CodeAlpaca, WizardLM; `input` is optional. CodeFeedback's `query`/`answer`.
  case instruction = "instruction/output"
  case completion = "prompt/completion"
  case text = "text"

  /// Whether a template has a say in it.
  package var isWrapped: Bool { self != .tokens && self != .text }
}

/// A task with its reference answer, and what was said before it.
package struct Instruction: Sendable, Equatable {
  package struct Exchange: Sendable, Equatable {
    package var request: String
    package var response: String

    package init(_ request: String, _ response: String) {
      self.request = request
      self.response = response
    }
  }

  package var kind: RowKind
  package var instruction: String
  /// Alpaca's further context; empty where there is none.
  package var input: String
  package var response: String
  /// Empty where there is none.
  package var system: String
  /// Earlier exchanges: part of the prompt, not learnt.
  package var history: [Exchange]
  /// For the checkpoint's template, as a chat has them.
  package var variables: [JSON.Member] = []

  package init(
    kind: RowKind, instruction: String, input: String = "", response: String, system: String = "", history: [Exchange] = []
  ) {
    self.kind = kind
    self.instruction = instruction
    self.input = input
    self.response = response
    self.system = system
    self.history = history
  }

  /// Instruction and context in one text, for prompts that have one place only.
  package var request: String { input.isEmpty ? instruction : instruction + "\n" + input }

  /// The same as a chat.
  var conversation: Conversation {
    var turns = system.isEmpty ? [] : [ChatTurn(.system, system)]
    for past in history { turns += [ChatTurn(.user, past.request), ChatTurn(.assistant, past.response, isLearnt: false)] }
    return Conversation(turns + [ChatTurn(.user, request), ChatTurn(.assistant, response)], variables: variables)
  }
}

/// One row of training or evaluation data.
package enum DataRow: Sendable, Equatable {
  /// Already tokenised; both arrays have one length, label −100 is not learnt.
  case tokens(ids: [Int32], labels: [Int32])
  case instruction(Instruction)
  /// At least one assistant turn.
  case chat(Conversation)
  /// Every token is learnt.
  case text(String)

  /// The label of a token that is not learnt (PyTorch's `ignore_index`).
  package static let notLearnt: Int32 = -100

  package var kind: RowKind {
    switch self {
    case .tokens: .tokens
    case .instruction(let instruction): instruction.kind
    case .chat: .chat
    case .text: .text
    }
  }

  /// The reference answer as text: the response, or the last assistant turn; nil for tokens and plain text.
  package var expectedAnswer: String? {
    switch self {
    case .instruction(let instruction): instruction.response
    case .chat(let chat): chat.turns.last(where: \.isAnswer)?.content
    case .tokens, .text: nil
    }
  }
}
