import GoraCore
import GoraModels
import GoraText
import GoraTraining

/// Runs a task by the loss of its rows.
struct RowsDriver {
  let task: any RowsTask
  let inputs: EvalInputs

  func measure(_ summary: inout EvalStage.Summary, _ events: EventHandler) throws(GoraError) {
    let (loaded, options) = (inputs.loaded, inputs.configuration)
    let data = try inputs.rows(&summary, events)
    let rows = try inputs.text.encode(data, options: inputs.data, events: events)
    loaded.warn(ofLength: rows.map(\.length).max() ?? 0, events: events)
    summary.rows = rows.count
    let pieces = microBatches(rows, maxTokens: loaded.defaultMicroBatchTokens)
    let tokens = pieces.map(\.tokens)
    let labelled = pieces.map(\.targets.count)
    let estimate = RunEstimate(
      loaded,
      RunEstimate.ForwardDemand(
        activations: loaded.model.lossBytes(tokens: tokens.max() ?? 0, labelled: labelled.max() ?? 0),
        distinctTokens: pieces.reduce(into: Set<Int32>()) { $0.formUnion($1.allIds) }.count, releasesWeights: true,
        tokens: (tokens.reduce(0, +), labelled.reduce(0, +))),
      memory: options.context.memory)
    events(.note(estimate.description))
    try estimate.require(
      options.context.memory,
      options: MemoryOptions(quantization: options.quantization, canQuantize: options.quantization == nil),
      isTried: options.dryRun, events: events)
    summary.estimate = estimate
    if options.dryRun { return }
    try inputs.requireSame(rows)
    let clock = Stopwatch()
    let result = meanLoss(loaded.model, pieces) { done in
      events(.progress(stage: "loss", done: done, total: rows.count, unit: "rows"))
    }
    summary.seconds = clock.seconds
    guard result.loss.isFinite else { throw GoraError(.negative, "the loss is \(result.loss)") }
    summary.outcome = task.outcome(loss: result.loss, tokens: result.tokens, rows: rows.count)
  }
}
