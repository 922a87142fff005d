import GoraCore
import GoraFormats
import GoraText

/// What a judge is asked about answers, and what it says of them: lines of JSON, requests as OpenAI's batches have them, which vLLM's
/// `run-batch` takes too.
struct Judge {
  private let judging: Judging
  private let questions: ReadRows<TurnsQuestion>
  private let prompts: JudgePrompts?
  /// By question.
  private var references: [[String]?]

  /// - Throws: status 65 where a question that needs a reference has none, or its number stands twice.
  init(_ judging: Judging, questions: ReadRows<TurnsQuestion>) throws(GoraError) {
    self.judging = judging
    self.questions = questions
    prompts = if let path = judging.prompts { try JudgePrompts(reading: path) } else { nil }
    var ids: Set<Int> = []
    for (question, place) in zip(questions.rows, questions.places) where !ids.insert(question.id).inserted {
      throw GoraError(.data, at: place, "question_id \(question.id) stands twice")
    }
    references = Array(repeating: nil, count: questions.rows.count)
    guard let path = judging.references else {
      guard prompts != nil, let row = questions.rows.firstIndex(where: \.needsReference) else { return }
      throw GoraError(
        .usage, at: questions.places[row], "a judge of \(questions.rows[row].category) is shown a reference answer",
        hint: "--references FILE, FastChat's reference_answer/gpt-4.jsonl")
    }
    let answers = try DataFile.read([path]) { row throws(GoraError) in [try TurnAnswers(row)] }
    for (row, question) in questions.rows.enumerated() where question.needsReference {
      guard let reference = answers.rows.first(where: { $0.id == question.id })?.turns, reference.count >= question.turns.count
      else {
        throw GoraError(
          .data, at: .file(path), "no reference answer of \(question.turns.count) turns to question \(question.id)")
      }
      references[row] = reference
    }
  }

  /// One line for each answer; empty where no prompts are given.
  /// - Parameter answers: of each question, turn by turn.
  func requests(_ answers: [[String]]) throws(GoraError) -> [UInt8] {
    guard let prompts else { return [] }
    var text = ""
    for (row, question) in questions.rows.enumerated() {
      for turn in answers[row].indices {
        let messages = try prompts.messages(question, answers: Array(answers[row][...turn]), reference: references[row])
        let body = JSON.object([
          "model": JSON(judging.model),
          "messages": JSON(messages.map { .object(["role": JSON($0.role), "content": JSON($0.content)]) }), "temperature": 0,
          "max_tokens": 2048,
        ])
        text +=
          JSON.object([
            "custom_id": JSON(Self.name(question, turn)), "method": "POST", "url": "/v1/chat/completions", "body": body,
          ]).compact() + "\n"
      }
    }
    return Array(text.utf8)
  }

  /// `mt-bench/81/1`.
  private static func name(_ question: TurnsQuestion, _ turn: Int) -> String { "mt-bench/\(question.id)/\(turn + 1)" }

  /// Ratings by the judge's command, which the first process alone asks, or its replies; none where there is neither.
  func scores(asking requests: [UInt8], _ events: EventHandler) throws(GoraError) -> TaskOutcome {
    if let command = judging.command, ProcessGroup.isFirst {
      events(.progress(stage: "judge", done: 0, total: nil, unit: "requests"))
      let said = try Self.replies(command, requests)
      return try scores(
        try DataFile.parse(said, path: "the output of --judge-command") { row throws(GoraError) in [try Reply(row)] })
    }
    if let path = judging.replies {
      return try scores(try DataFile.read([path]) { row throws(GoraError) in [try Reply(row)] })
    }
    return TaskOutcome(values: [], members: [], line: "")
  }

  /// What a shell's command answers.
  private static func replies(_ command: String, _ requests: [UInt8]) throws(GoraError) -> [UInt8] {
    let outcome = try Filter.run(command, input: requests, limit: FileLimit.plan)
    guard outcome.status == 0 else {
      throw GoraError(.unavailable, "--judge-command \"\(command)\" ended with status \(outcome.status)")
    }
    return outcome.output
  }

  /// One answer of a judge.
  private struct Reply: Sendable {
    var name: String
    /// nil for a request that failed.
    var text: String?

    /// A line of a batch's output, or a completion with a `custom_id`.
    init(_ row: JSONField) throws(GoraError) {
      name = try row.required("custom_id").string
      var completion = row
      if let response = try row.optional("response") { completion = try response.optional("body") ?? response }
      guard let choice = try completion.optional("choices")?.elements.first else {
        text = nil
        return
      }
      text = try choice.required("message").optional("content")?.string
    }
  }

  private func scores(_ replies: ReadRows<Reply>) throws(GoraError) -> TaskOutcome {
    var ratings: [String: Double?] = [:]
    for (reply, place) in zip(replies.rows, replies.places) {
      guard ratings.updateValue(reply.text.flatMap(judgeRating), forKey: reply.name) == nil else {
        throw GoraError(.data, at: place, "custom_id \"\(reply.name)\" stands twice")
      }
    }
    var categories: [String] = []
    var all: [(category: String, turn: Int, rating: Double)] = []
    var unrated = 0
    for question in questions.rows {
      if !categories.contains(question.category) { categories.append(question.category) }
      for turn in question.turns.indices {
        guard let reply = ratings[Self.name(question, turn)] else {
          throw GoraError(
            .data, "no reply to \"\(Self.name(question, turn))\"",
            hint: "the judge must answer every request, with the request's custom_id")
        }
        if let rating = reply { all.append((question.category, turn, rating)) } else { unrated += 1 }
      }
    }
    guard !all.isEmpty else { throw GoraError(.data, "the judge has rated none of \(unrated) answers as [[7]]") }
    return JudgeScores(ratings: all, categories: categories, unrated: unrated).outcome
  }
}
