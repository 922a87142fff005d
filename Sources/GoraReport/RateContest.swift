/// Runs that differ in rate, ratio and seed alone. The rows that choose have the word: the rate and ratio with the least mean of their
/// loss over the seeds is the one that the others tell of.
struct RateContest {
  struct Candidate {
    let rate: Double
    let ratio: Double?
    /// One a seed.
    let records: [RateRecord]
    /// nil where a seed of the contest has no finite loss.
    let validation: Spread?

    /// By seed.
    func values(_ value: (RateRecord) -> Double?) -> [String: Double] {
      var values: [String: Double] = [:]
      for record in records { values[record.tried.run.seed] = value(record).flatMap { $0.isFinite ? $0 : nil } }
      return values
    }
  }

  /// Which end of the tried rates the chosen one is at: a better one may lie beyond.
  enum Edge: String { case lower = "<", upper = ">" }

  /// `gora/rank-8/batch-32`
  let group: String
  let method: String
  let condition: String
  /// In the order of ratios and rates.
  let candidates: [Candidate]
  let chosen: Candidate?
  let edge: Edge?

  /// Those of small ranks and batches first, methods as they come.
  static func all(_ records: [RateRecord]) -> [RateContest] {
    let contests = grouped(records) { $0.tried.run.group }.compactMap { RateContest($0.elements) }
    return grouped(contests) { $0.condition }
      .map { (numbers: $0.key.split(separator: "/").compactMap { Double($0.drop { $0 != "-" }.dropFirst()) }, $0.elements) }
      .sorted { $0.numbers.lexicographicallyPrecedes($1.numbers) }.flatMap(\.1)
  }

  private init?(_ records: [RateRecord]) {
    guard let run = records.first?.tried.run else { return nil }
    (group, method, condition) = (run.group, run.method, run.condition)
    let seeds = Set(records.filter { $0.validation != nil }.map(\.tried.run.seed))
    struct Point: Hashable {
      let ratio: Double?
      let rate: Double
    }
    candidates = grouped(records) { Point(ratio: $0.tried.ratio, rate: $0.tried.rate) }
      .sorted { ($0.key.ratio ?? 0, $0.key.rate) < ($1.key.ratio ?? 0, $1.key.rate) }
      .map { point, records in
        // In one order of seeds, so that a mean does not depend on that of the files.
        let ordered = records.sorted { $0.tried.run.seed < $1.tried.run.seed }
        let losses = ordered.compactMap { $0.validation.flatMap { $0.isFinite ? $0 : nil } }
        return Candidate(
          rate: point.rate, ratio: point.ratio, records: ordered,
          validation: losses.count == seeds.count ? Spread(losses) : nil)
      }
    let best = candidates.filter { $0.validation != nil }
      .min { a, b in
        (a.validation?.mean ?? 0, a.rate, a.ratio ?? 0) < (b.validation?.mean ?? 0, b.rate, b.ratio ?? 0)
      }
    chosen = best
    let rates = candidates.filter { $0.ratio == best?.ratio && $0.records.contains { $0.validation != nil } }.map(\.rate)
    if let best, rates.count > 1 {
      edge = best.rate == rates.min() ? .lower : best.rate == rates.max() ? .upper : nil
    } else {
      edge = nil
    }
  }
}
