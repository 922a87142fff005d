import GoraCore
import GoraModels
import GoraText

/// Short runs from one start that leave no trace: what a rate is worth, on rows that none of them learns.
///
/// A trial goes through the schedule of the run, made as short as itself: a rate that is too high for a run that ends at a low one looks
/// worse than it is as long as it stays high. All trials take their first step from one gradient, since they have the same start and the
/// same first rows: it is computed once.
package final class RateTrials {
  private let model: any Model
  private let parameters: [Parameter]
  /// The values of `parameters` that every trial starts from.
  private let start: [FloatBuffer]
  private let rows: [EncodedRow]
  private let judged: [PackedBatch]
  private let settings: Trainer.Settings
  private let optimizer: (_ ratio: Double?) -> any Optimizer
  /// Of the first step, once there was a trial.
  private var first: (measured: Trainer.Measured, gradients: [FloatBuffer])?

  /// - Parameters:
  ///   - parameters: all that learns.
  ///   - rows: what trials learn, in the order in which they do.
  ///   - judged: what they are measured on.
  ///   - settings: of the run.
  ///   - optimizer: a new one, for a rate of B over that of A; nil: where there is none.
  package init(
    model: any Model, parameters: [Parameter], rows: [EncodedRow], judged: [PackedBatch], settings: Trainer.Settings,
    optimizer: @escaping (_ ratio: Double?) -> any Optimizer
  ) {
    self.model = model
    self.parameters = parameters
    self.rows = rows
    self.judged = judged
    self.settings = settings
    self.optimizer = optimizer
    start = parameters.map { Self.copy($0.values, $0.count) }
  }

  private static func copy(_ buffer: FloatBuffer?, _ count: Int) -> FloatBuffer {
    let copy = FloatBuffer(capacity: count)
    if let buffer { copy.pointer.update(from: buffer.pointer, count: count) }
    return copy
  }

  /// Floats that trials keep: values and gradients of the start.
  package static func floats(parameters: Int) -> Int { 2 * parameters }

  /// The loss on the judged rows after a trial's steps, from the start; nil where a loss, a gradient or a value is not finite.
  /// - Throws: what is no fault of the rate.
  package func loss(of trial: RateSearch.Setting) throws(GoraError) -> Double? {
    defer { restore() }
    var settings = settings
    settings.schedule = settings.schedule.shortened(to: trial.steps, peak: trial.lr)
    settings.shuffles = false
    let trainer = Trainer(model: model, optimizer: optimizer(trial.ratio), rows: rows, settings: settings)
    // Where this one is not finite, no rate is to blame.
    _ = trainer.update(try firstGradient(trainer))
    do {
      while !trainer.isFinished { _ = try trainer.advance() }
    } catch {
      if error.status == .negative { return nil }
      throw error
    }
    guard trainer.optimizer.isFinite else { return nil }
    let loss = meanLoss(model, judged).loss
    return loss.isFinite ? loss : nil
  }

  /// Puts the gradient of the first step into the parameters.
  private func firstGradient(_ trainer: Trainer) throws(GoraError) -> Trainer.Measured {
    if let first {
      for (parameter, copy) in zip(parameters, first.gradients) {
        parameter.gradient?.pointer.update(from: copy.pointer, count: parameter.count)
      }
      return first.measured
    }
    let measured = try trainer.measure()
    first = (measured, parameters.map { Self.copy($0.gradient, $0.count) })
    return measured
  }

  /// Lets go of what only trials need; the start stays.
  package func end() { first = nil }

  /// Puts the values of the start back.
  package func restore() {
    for (parameter, copy) in zip(parameters, start) {
      parameter.values?.pointer.update(from: copy.pointer, count: parameter.count)
    }
  }
}
