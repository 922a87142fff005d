import GoraCore
import GoraFormats
import GoraMethods
import GoraModels
import GoraText
import GoraTraining

/// How `--gamma auto` measures a candidate.
package struct GammaTrialOptions: Sendable {
  package var data: DataOptions
  package var batchSize: Int
  /// Batches that the loss is the token mean of.
  package var batches: Int
  package var shuffles: Bool
  package var precision: PrecisionChoice

  /// What a candidate is measured on where nothing is said.
  package static let standardBatchSize = 64
  package static let standardBatches = 1

  package init(
    data: DataOptions, batchSize: Int = standardBatchSize, batches: Int = standardBatches, shuffles: Bool = true,
    precision: PrecisionChoice = .auto
  ) {
    self.data = data
    self.batchSize = batchSize
    self.batches = batches
    self.shuffles = shuffles
    self.precision = precision
  }
}

/// The model and the rows on which γ is chosen: the first batches that gora-train with the same seed would see.
struct GammaTrial {
  let rows: [EncodedRow]
  private let loaded: LoadedModel
  var dtype: String { loaded.dtype }

  /// Opens model and data, so that what is wrong with them shows before the adapters are made.
  init(_ options: GammaTrialOptions, model: String, seed: UInt64, threads: Int, events: EventHandler) throws(GoraError) {
    loaded = try LoadedModel(path: model, precision: options.precision)
    loaded.announce(threads: threads, events: events)
    let all = try RowSource(loaded, options: options.data, events: events).rows(options.data, events: events)
    let order = BatchOrder(
      rows: all.count, batchSize: options.batchSize, shuffles: options.shuffles, seed: seed, stream: "gora-train")
    rows = order.epoch(0).prefix(options.batchSize * options.batches).map { all[$0] }
  }

  /// The losses of all candidates.
  /// - Parameter adapters: with a step of γ = 1.
  /// - Throws: status 1 where the base's own loss is not finite.
  func search(_ adapters: [AdapterModule], events: EventHandler) throws(GoraError) -> GammaSearch {
    let pieces = microBatches(rows, maxTokens: loaded.defaultMicroBatchTokens)
    func loss() -> Double { meanLoss(loaded.model, pieces).loss }
    let base = loss()
    guard base.isFinite else { throw GoraError(.negative, "the loss of the base is \(base)") }
    for module in adapters {
      try loaded.model.attach(
        module: module.name, rank: module.rank, scaling: module.scaling, a: module.a, b: module.b)
    }
    let attached = adapters.compactMap { module in loaded.model.linears.first { $0.name == module.name }?.adapter }
    var done = 0
    return GammaSearch(baseLoss: base) { gamma in
      for (adapter, module) in zip(attached, adapters) { adapter.scaling = Float(gamma * module.scaling) }
      let loss = loss()
      done += 1
      events(.progress(stage: "choosing gamma", done: done, total: GammaSearch.candidates.count, unit: "values", loss: loss))
      return loss
    }
  }
}
