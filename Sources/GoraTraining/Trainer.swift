import GoraCore
import GoraModels
import GoraText

/// What one optimiser step did.
package struct StepReport: Sendable, Equatable {
  /// 1 for the first step.
  package var step: Int
  /// Mean over the batch's labelled tokens, before the update.
  package var loss: Double
  /// Rate of A (and of everything whose factor is 1).
  package var lr: Double
  /// Tokens of the batch, prompts included.
  package var tokens: Int
  /// Rows of the batch.
  package var rows: Int
  /// ‖g‖₂ before clipping.
  package var gradientNorm: Double
  /// Components that each adapter has still, where the rule leaves some out.
  package var ranks: [Int]?
}

/// The training loop's state: model, optimiser, and which rows come next. It opens no file and prints nothing.
package final class Trainer {
  package struct Settings: Sendable, Equatable {
    package var batchSize: Int
    /// Tokens that run through the model together; the loss does not depend on it.
    package var microBatchTokens: Int
    package var schedule: Schedule
    /// Gradients are scaled down to this norm; 0 is off.
    package var maxGradientNorm: Double
    package var shuffles: Bool
    package var seed: UInt64

    package init(
      batchSize: Int, microBatchTokens: Int, schedule: Schedule, maxGradientNorm: Double, shuffles: Bool, seed: UInt64
    ) {
      self.batchSize = batchSize
      self.microBatchTokens = microBatchTokens
      self.schedule = schedule
      self.maxGradientNorm = maxGradientNorm
      self.shuffles = shuffles
      self.seed = seed
    }

    /// Which rows make up which batch.
    package func order(rows: Int) -> BatchOrder {
      BatchOrder(rows: rows, batchSize: batchSize, shuffles: shuffles, seed: seed, stream: "gora-train")
    }
  }

  package let optimizer: any Optimizer
  private let model: any Model
  private let rows: [EncodedRow]
  private let settings: Settings
  private let sums: GradientSums
  private let order: BatchOrder
  private var epoch = -1
  private var epochOrder: [Int] = []

  package init(model: any Model, optimizer: any Optimizer, rows: [EncodedRow], settings: Settings) {
    self.model = model
    self.rows = rows
    self.settings = settings
    self.optimizer = optimizer
    sums = GradientSums(of: optimizer.parameters, blocks: model.blocks)
    order = settings.order(rows: rows.count)
  }

  /// Steps taken; set by the optimiser's state when a run resumes.
  package var step: Int { optimizer.step }
  package var isFinished: Bool { step >= settings.schedule.steps }

  /// Which inputs the adapters leave out, by a random stream of their own: a function of seed, step, micro-batch and module.
  private func setDropout(_ stream: String?) {
    for adapter in model.adapters where adapter.dropoutRate > 0 {
      adapter.dropoutKey = stream.map { stream in
        var random = Random(seed: settings.seed, stream: "\(stream)/\(adapter.a.name)")
        return random.nextUInt64()
      }
    }
  }

  /// The gradient of a step, in the parameters, and what was measured with it.
  package struct Measured {
    fileprivate var loss: Double
    fileprivate var norm: Double
    fileprivate var tokens: Int
    fileprivate var rows: Int
  }

  /// Takes one step.
  /// - Throws: exit 1 where the loss or the gradient is not finite; nothing has been updated then.
  package func advance() throws(GoraError) -> StepReport { update(try measure()) }

  /// The first half of a step: its gradient.
  /// - Throws: exit 1 where the loss or the gradient is not finite.
  package func measure() throws(GoraError) -> Measured {
    let batch = order.batch(step) { wanted in
      if wanted != epoch {
        epoch = wanted
        epochOrder = order.epoch(wanted)
      }
      return epochOrder
    }
    let pieces = microBatches(batch.map { rows[$0] }, maxTokens: settings.microBatchTokens)
    let labelled = pieces.reduce(0) { $0 + $1.targets.count }
    let losses = sums.sum(pieces: pieces.count) { i, finished in
      setDropout("gora-train/dropout/\(step)/\(i)")
      return model.accumulateGradient(pieces[i], scale: 1 / Float(labelled), finished: finished)
    }
    setDropout(nil)
    let loss = losses.reduce(0, +) / Double(labelled)
    optimizer.addPenalty()
    let norm = sums.norm()
    guard loss.isFinite, norm.isFinite else {
      throw GoraError(
        .negative, "step \(step + 1): the loss is \(loss), the gradient's norm \(norm)",
        hint: "lower --lr or set --max-grad-norm 1; rows of this batch: "
          + places(of: batch.map { rows[$0] }))
    }
    return Measured(loss: loss, norm: norm, tokens: pieces.reduce(0) { $0 + $1.tokens }, rows: batch.count)
  }

  /// The second half: what is in the parameters' gradients moves them.
  package func update(_ measured: Measured) -> StepReport {
    let rate = settings.schedule.rate(at: step)
    let clip = settings.maxGradientNorm > 0 ? min(1, settings.maxGradientNorm / max(measured.norm, 1e-30)) : 1
    optimizer.update(lr: rate, gradientScale: Float(clip))
    return StepReport(
      step: step, loss: measured.loss, lr: rate, tokens: measured.tokens, rows: measured.rows,
      gradientNorm: measured.norm, ranks: optimizer.ranks)
  }
}

/// Token-mean loss of rows, without gradients. Piece k runs on process k mod P; all get the same result, summed in the order of the pieces.
/// - Parameter progress: told of the rows that are done.
package func meanLoss(_ model: any Model, _ pieces: [PackedBatch], progress: (Int) -> Void = { _ in }) -> (
  loss: Double, tokens: Int
) {
  var losses = [Double](repeating: 0, count: pieces.count)
  var done = 0
  for first in stride(from: 0, to: pieces.count, by: ProcessGroup.size) {
    let round = first..<min(pieces.count, first + ProcessGroup.size)
    let own = first + ProcessGroup.rank
    if round.contains(own) { losses[own] = model.loss(pieces[own]) }
    done += pieces[round].reduce(0) { $0 + $1.rows }
    progress(done)
  }
  let all = ProcessGroup.allGather(losses)
  var total = 0.0
  for piece in pieces.indices { total += all[piece % ProcessGroup.size][piece] }
  let labelled = pieces.reduce(0) { $0 + $1.targets.count }
  return (total / Double(max(1, labelled)), labelled)
}
