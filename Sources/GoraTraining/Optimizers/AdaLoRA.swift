import CGoraKernels
import GoraCore
import GoraModels

/// AdamW, and after each update the choice of the components that stay.
///
/// A component k of a module is its column of B, its E and its row of A. The importance of a number p with gradient g is |p·g|, Ī its running
/// mean and Ū that of |I − Ī|; a number scores Ī·Ū, a component the score of E and the mean scores of its row and column. Where all
/// components of all modules are too many, E becomes 0 where the score is not above the threshold, and may grow again until the last choice.
final class AdaLoRA: Optimizer {
  private struct Importance {
    let parameter: Parameter
    let mean: FloatBuffer
    let spread: FloatBuffer
  }

  private struct Entry {
    let adapter: LowRankAdapter
    let e: Parameter
    /// Of A, B and E.
    let importances: [Importance]
    /// 1 for a component that stays, else 0 [r, 1].
    let mask: FloatBuffer
  }

  private let entries: [Entry]
  private let adamW: AdamW
  private let schedule: RankSchedule
  private let low = FloatBuffer()

  init(_ adapters: [LowRankAdapter], _ settings: StepSettings, _ schedule: RankSchedule) {
    self.schedule = schedule
    var rates: [(parameter: Parameter, rateFactor: Float)] = []
    var entries: [Entry] = []
    for adapter in adapters {
      guard let e = adapter.innerFactor?.vector else { preconditionFailure("\(adapter.a.name) is no AdaLoRA") }
      let parameters = [adapter.a, adapter.b, e]
      rates += zip(parameters, [1, Float(settings.ratio), 1]).map { ($0, $1) }
      let mask = FloatBuffer(zeros: adapter.rank)
      mask.pointer.update(repeating: 1, count: adapter.rank)
      entries.append(
        Entry(
          adapter: adapter, e: e,
          importances: parameters.map {
            Importance(parameter: $0, mean: FloatBuffer(zeros: $0.count), spread: FloatBuffer(zeros: $0.count))
          }, mask: mask))
    }
    self.entries = entries
    adamW = AdamW(rates, settings: settings.adamW)
  }

  var parameters: [Parameter] { adamW.parameters }
  var step: Int {
    get { adamW.step }
    set { adamW.step = newValue }
  }
  var ranks: [Int]? { entries.map { entry in (0..<entry.adapter.rank).count { entry.mask.pointer[$0] != 0 } } }

  var state: [OptimizerTensor] {
    adamW.state
      + entries.flatMap { entry in
        let importances = entry.importances.flatMap { importance in
          let (name, shape) = (importance.parameter.name, importance.parameter.shape)
          return [
            OptimizerTensor(name: "sensitivity/\(name)", shape: shape, buffer: importance.mean, isNonNegative: true),
            OptimizerTensor(name: "uncertainty/\(name)", shape: shape, buffer: importance.spread, isNonNegative: true),
          ]
        }
        return importances + [
          OptimizerTensor(name: "mask/\(entry.e.name)", shape: entry.e.shape, buffer: entry.mask, isNonNegative: true)
        ]
      }
  }

  // MARK: The penalty

  /// w·mean over all A and B of ‖A·Aᵀ − I‖ and ‖Bᵀ·B − I‖, whose gradient is 2·(A·Aᵀ − I)·A/‖A·Aᵀ − I‖.
  func addPenalty() {
    let weight = schedule.config.orthogonalWeight / Double(2 * entries.count)
    guard weight > 0 else { return }
    for entry in entries {
      let (rank, rows, columns) = (entry.adapter.rank, entry.adapter.b.shape[0], entry.adapter.a.shape[1])
      if let gradient = entry.adapter.a.gradient {
        let distance = Self.distance(entry.adapter.a.vector, rank: rank, columns: columns, times: 2 * weight)
        Matmul.sgemm(
          m: rank, n: columns, k: rank, a: distance, lda: rank, b: entry.adapter.a.vector, ldb: columns, beta: 1,
          c: gradient.pointer, ldc: columns)
      }
      if let gradient = entry.adapter.b.gradient {
        let bT = low.reserve(rank * rows)
        transpose(entry.adapter.b.vector, rows: rows, columns: rank, into: bT)
        let distance = Self.distance(bT, rank: rank, columns: rows, times: 2 * weight)
        Matmul.sgemm(
          m: rows, n: rank, k: rank, a: entry.adapter.b.vector, lda: rank, b: distance, ldb: rank, beta: 1, c: gradient.pointer,
          ldc: rank)
      }
    }
  }

  /// factor·(X·Xᵀ − I)/‖X·Xᵀ − I‖ [r, r] of X [r, columns]; 0 where X has orthonormal rows.
  private static func distance(_ x: UnsafePointer<Float>, rank: Int, columns: Int, times factor: Double) -> [Float] {
    var gram = FixedSum.gram(x, rows: rank, columns: columns)
    for k in 0..<rank { gram[k * rank + k] -= 1 }
    let norm = gram.reduce(0) { $0 + $1 * $1 }.squareRoot()
    return gram.map { norm > 0 ? Float(factor * $0 / norm) : 0 }
  }

  // MARK: The update

  /// PEFT's order: values of after the update, gradients of before it.
  func update(lr: Double, gradientScale: Float) {
    adamW.update(lr: lr, gradientScale: gradientScale)
    switch schedule.phase(step, modules: entries.count) {
    case .measuring: measure(gradientScale)
    case .choosing(let budget):
      measure(gradientScale)
      choose(budget)
    case .settling(let budget): choose(budget)
    case .settled: applyMasks()
    }
  }

  private func measure(_ gradientScale: Float) {
    let (beta1, beta2) = (Float(schedule.config.beta1), Float(schedule.config.beta2))
    for importance in entries.flatMap(\.importances) {
      guard let gradient = importance.parameter.gradient?.pointer else { continue }
      let (p, mean, spread) = (importance.parameter.vector, importance.mean.pointer, importance.spread.pointer)
      parallelRanges(importance.parameter.count, grain: 32_768, alignment: 16) { range in
        let i = range.lowerBound
        gora_sensitivity(p + i, gradient + i, mean + i, spread + i, range.count, gradientScale, beta1, beta2)
      }
    }
  }

  /// Leaves `budget` components: those above the threshold, which of equals may be fewer.
  private func choose(_ budget: Int) {
    let scores = entries.map(Self.scores)
    let sorted = scores.flatMap { $0 }.sorted()
    guard budget < sorted.count else { return }
    let threshold = sorted[sorted.count - budget - 1]
    for (entry, scores) in zip(entries, scores) {
      for (k, score) in scores.enumerated() { entry.mask.pointer[k] = score > threshold ? 1 : 0 }
    }
    applyMasks()
  }

  private func applyMasks() {
    for entry in entries {
      guard let values = entry.e.values?.pointer else { continue }
      for k in 0..<entry.adapter.rank where entry.mask.pointer[k] == 0 { values[k] = 0 }
    }
  }

  /// Of each component.
  private static func scores(_ entry: Entry) -> [Double] {
    let (rank, rows, columns) = (entry.adapter.rank, entry.adapter.b.shape[0], entry.adapter.a.shape[1])
    let (a, b, e) = (entry.importances[0], entry.importances[1], entry.importances[2])
    var scores = (0..<rank).map { k in
      let row = FixedSum.product(a.mean.pointer + k * columns, a.spread.pointer + k * columns, count: columns)
      return Double(e.mean.pointer[k]) * Double(e.spread.pointer[k]) + row / Double(columns)
    }
    var sums = [Double](repeating: 0, count: rank)
    for row in 0..<rows {
      for k in 0..<rank { sums[k] += Double(b.mean.pointer[row * rank + k]) * Double(b.spread.pointer[row * rank + k]) }
    }
    for k in 0..<rank { scores[k] += sums[k] / Double(rows) }
    return scores
  }
}
