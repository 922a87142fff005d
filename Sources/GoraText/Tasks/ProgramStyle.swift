/// How a problem is put to the model, and what of the answer is the program (`--style`).
package enum ProgramStyle: String, Sendable, CaseIterable {
  /// The prompt as it stands, which the model goes on writing (lm-evaluation-harness' `humaneval`).
  case raw
  /// A request in the chat template; the answer begins with the prompt in a fence (lm-evaluation-harness' `humaneval_instruct`).
  case instruct
  /// LoRA-GA's and LoRA-Pro's request for a whole function, and what they make of the answer.
  case loraga

  /// Texts before which an answer ends.
  package var stops: [String] {
    switch self {
    case .raw: Self.topLevel
    case .instruct: Self.topLevel + ["```"]
    case .loraga: []
    }
  }

  /// What begins a line at top level: the function has ended before it.
  private static let topLevel = ["\nclass", "\ndef", "\n#", "\nif", "\nprint"]

  /// Whether a template wraps the request.
  package var isWrapped: Bool { self == .instruct }

  /// The row that asks for the function.
  package func row(_ problem: ProgramProblem) -> DataRow {
    switch self {
    case .raw:
      .instruction(Instruction(kind: .completion, instruction: problem.prompt, response: problem.solution))
    case .instruct:
      .chat([
        ChatTurn(
          .user,
          "Write a solution to the following problem and make sure that it passes the tests:\n```python\n\(problem.prompt)\n```"),
        ChatTurn(.assistant, problem.solution),
      ])
    case .loraga:
      .instruction(
        Instruction(
          kind: .completion, instruction: Self.loraGARequest.before + problem.prompt + Self.loraGARequest.after,
          response: problem.solution))
    }
  }

  /// What the answer begins with, put there for the model.
  package func opening(_ problem: ProgramProblem) -> String {
    self == .instruct ? "Here is the completed function:\n```python\n\(problem.prompt)\n" : ""
  }

  /// What of an answer completes the prompt.
  package func completion(_ answer: String) -> String { self == .loraga ? loraGACompletion(answer) : answer }

  private static let loraGARequest = (
    before: """
    Below is an instruction that describes a task.
     Write a response that appropriately completes the request.

    ### Instruction:
    Complete the following Python code:\u{20}
    Notes: respond with the entire complete function definition
    do not add any comments, be as concise in your code as possible
    use only built-in libraries, assume no additional imports other than those provided (if any)
    use `    ` (4 spaces) for each level of indentation

    code:
    ```python

    """,
    after: """

    ```

    ### Response:
    ```python

    """
  )
}
