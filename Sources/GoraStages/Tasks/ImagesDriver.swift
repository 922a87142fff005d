import CGoraKernels
import GoraCore
import GoraFormats
import GoraModels
import GoraText
import GoraTraining

/// Runs a task on images: which class each is taken for, or the mean loss.
struct ImagesDriver {
  let model: CLIPModel
  let loaded: LoadedModel
  let configuration: EvalStage.Configuration
  /// The adapter's fingerprint, or "none".
  let adapter: String

  /// - Parameter earlier: of the adapter.
  func measured(after earlier: Provenance?, _ events: EventHandler) throws(GoraError) -> EvalStage.Summary {
    let c = configuration
    let task = c.task.init(c.answering)
    guard task is ImagesTask || task is any RowsTask else {
      throw GoraError(
        .usage, "--task \(c.task.name) asks for texts; a \(loaded.config.modelType) model sees images",
        hint: "--task \(ImagesTask.name) or \(EvalTasks.names { $0 is any RowsTask.Type })")
    }
    let reader = try ImageReader(model, files: loaded.files, options: c.data, events: events)
    let rows = try reader.rows(c.data, limit: c.limit, events: events)
    var summary = EvalStage.Summary(task: c.task, rows: rows.count, adapter: c.adapter)
    if !c.dryRun {
      summary.provenance = try c.context.provenance(after: earlier, inputs: [c.model] + c.data.paths, dtype: loaded.dtype)
    }
    let pieces = microBatches(rows, maxTokens: loaded.defaultMicroBatchTokens)
    let (tokens, images) = (pieces.map(\.tokens), pieces.map(\.images.count))
    let estimate = RunEstimate(
      loaded,
      RunEstimate.ForwardDemand(
        activations: model.lossBytes(tokens: tokens.max() ?? 0, labelled: images.max() ?? 0), distinctTokens: 0,
        releasesWeights: true, tokens: (tokens.reduce(0, +), rows.count)),
      memory: c.context.memory)
    events(.note(estimate.description))
    try estimate.require(
      c.context.memory, options: MemoryOptions(quantization: c.quantization, canQuantize: c.quantization == nil),
      isTried: c.dryRun, events: events)
    summary.estimate = estimate
    if c.dryRun { return summary }
    try c.requireSame(loaded, adapter: adapter, rows)
    let clock = Stopwatch()
    let shares = WorkShares(costs: tokens)
    var done = 0
    let count = SharedCount(pieces: shares.counts)
    func told(_ images: Int) {
      done += images
      events(
        .progress(
          stage: "images", done: done, total: rows.count, unit: "images",
          rate: StageRate(Double(done) / max(clock.seconds, 1e-9), "images/s")))
    }
    // Of each image the class it is taken for, and its loss.
    var found = [[Double]](repeating: [], count: pieces.count)
    for index in shares.own {
      let piece = pieces[index]
      var logits = model.logits(piece)
      logits.withUnsafeMutableBufferPointer { logits in
        for (image, target) in piece.targets.enumerated() {
          let own = logits.baseAddress! + image * model.classCount
          let predicted = gora_argmax(own, model.classCount)
          found[index] += [Double(predicted), gora_cross_entropy(own, model.classCount, Int(target.label), 0)]
        }
      }
      count.add(piece.images.count, told: told)
    }
    count.finish(told: told)
    var confusion = [[Int]](repeating: [Int](repeating: 0, count: model.classCount), count: model.classCount)
    var loss = 0.0
    for (piece, found) in zip(pieces, shares.gathered(found)) {
      for (image, target) in piece.targets.enumerated() {
        let predicted = Int(found[2 * image])
        loss += found[2 * image + 1]
        if predicted < model.classCount { confusion[Int(target.label)][predicted] += 1 }
      }
    }
    summary.seconds = clock.seconds
    loss /= Double(rows.count)
    guard loss.isFinite else { throw GoraError(.negative, "the loss is \(loss)") }
    switch task {
    case let task as ImagesTask:
      summary.outcome = task.outcome(
        classes: reader.classes.names, templates: reader.templates, confusion: confusion, loss: loss)
    case let task as any RowsTask: summary.outcome = task.outcome(loss: loss, tokens: rows.count, rows: rows.count)
    default: throw GoraError(.internal, "no driver runs task \(c.task.name)")
    }
    return summary
  }
}
