import GoraCore
import GoraFormats

/// Means of a judge's ratings: of all, by turn, and by category.
struct JudgeScores {
  let ratings: [(category: String, turn: Int, rating: Double)]
  /// In the order of the questions.
  let categories: [String]
  /// Answers that the judge has not rated; they count for nothing.
  let unrated: Int

  private func mean(_ isWanted: (_ category: String, _ turn: Int) -> Bool) -> Double? {
    let wanted = ratings.filter { isWanted($0.category, $0.turn) }
    return wanted.isEmpty ? nil : wanted.reduce(0) { $0 + $1.rating } / Double(wanted.count)
  }

  private func means(_ isWanted: (String) -> Bool) -> (first: Double?, second: Double?, all: Double?) {
    (
      mean { isWanted($0) && $1 == 0 }, mean { isWanted($0) && $1 == 1 }, mean { category, _ in isWanted(category) }
    )
  }

  var outcome: TaskOutcome {
    let total = means { _ in true }
    let rows = categories.map { category in (category, means { $0 == category }) }
    func json(_ value: Double?) -> JSON { value.map { JSON($0) } ?? nil }
    let score = total.all ?? 0
    return TaskOutcome(
      values: [("score", score)],
      members: [
        .init("score", JSON(score)), .init("turn_1", json(total.first)), .init("turn_2", json(total.second)),
        .init("rated", JSON(ratings.count)), .init("unrated", JSON(unrated)),
        .init(
          "categories",
          JSON(
            rows.map { category, means in
              .object([
                "category": JSON(category), "turn_1": json(means.first), "turn_2": json(means.second), "score": json(means.all),
              ])
            })),
      ],
      line: "score \(NumberText.fixed(score, 3)) of \(ratings.count) ratings" + (unrated > 0 ? ", \(unrated) without one" : ""),
      table: table(rows.map { ($0.0, $0.1) } + [("all", total)]))
  }

  private func table(_ rows: [(name: String, means: (first: Double?, second: Double?, all: Double?))]) -> String {
    let width = rows.map(\.name.count).max() ?? 0
    func cell(_ value: Double?) -> String {
      let text = value.map { NumberText.fixed($0, 2) } ?? "-"
      return String(repeating: " ", count: max(1, 9 - text.count)) + text
    }
    func line(_ name: String, _ cells: String) -> String {
      name + String(repeating: " ", count: width - name.count) + cells
    }
    return
      ([line("", "   turn 1   turn 2    score")]
      + rows.map { line($0.name, cell($0.means.first) + cell($0.means.second) + cell($0.means.all)) }).joined(separator: "\n")
  }
}
