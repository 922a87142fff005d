import CGoraKernels
import GoraCore
import GoraFormats
import GoraMethods
import GoraModels
import GoraText

/// G: the mean over N micro-batches of the gradient of each one's mean loss (GoRA section 3.1; summed in f32, all N counted). The
/// weights stay as they are, or with an `Exploration` move from one micro-batch to the next and come back when the estimator goes.
///
/// Backward adds a weight's gradient straight into its sum. Only where each micro-batch's own gradient is wanted, to move the weight
/// or to track it, does it go through a buffer; one layer's are enough where every micro-batch runs in one piece.
///
/// Without targets there is no backward pass: inputs alone are collected.
package final class GradientEstimator {
  package struct Settings: Sendable {
    /// Tokens that run through the model together.
    package var microBatchTokens: Int
    /// Whether every micro-batch fits them, or is one row.
    package var runsWhole = false
    package var exploration: Exploration?
    /// Micro-batches over which the gradient of a tracked importance is taken.
    package var trackEvery: Int?
    /// Whether the squares of each micro-batch's gradients are summed.
    package var keepsSquares: Bool

    package init(
      microBatchTokens: Int, runsWhole: Bool = false, exploration: Exploration? = nil, trackEvery: Int? = nil,
      keepsSquares: Bool = false
    ) {
      self.microBatchTokens = microBatchTokens
      self.runsWhole = runsWhole
      self.exploration = exploration
      self.trackEvery = trackEvery
      self.keepsSquares = keepsSquares
    }

    /// Whether a micro-batch's own gradient is kept apart from the sums.
    package var needsStepGradients: Bool { exploration != nil || trackEvery != nil || keepsSquares }
    /// Whether the gradients of several micro-batches are summed a second time.
    package var needsWindows: Bool { (trackEvery ?? 1) > 1 }
  }

  package struct Step: Sendable, Equatable {
    package var loss: Double
    package var tokens: Int
    package var rows: Int
    /// avg|W⊙Ḡ| of each target after this step, W the original weight and Ḡ the mean so far; in the order of `targets`.
    package var importance: [Double]
    /// At the end of a window: avg|W⊙g|, W the weight as it is at the window's last micro-batch, g the window's mean gradient.
    package var tracked: [Double]?
  }

  package let targets: [Linear]
  /// Σ of the micro-batches' gradients, one a target; G is this over `done`.
  package let sums: [FloatBuffer]
  /// Σ of the micro-batches' gradients, each entry squared: over `done` the diagonal of the empirical Fisher information, for
  /// micro-batches of one row. Empty where they are not kept.
  package let squares: [FloatBuffer]
  /// Micro-batches added.
  package private(set) var done = 0

  private let model: any Model
  private let settings: Settings
  private let inputs: InputCollector?
  /// Targets of each layer, as indices.
  private let layers: [[Int]]
  /// The weights as they lie in the checkpoint.
  private let originals: [WeightMatrix]
  private let stepGradients: [FloatBuffer]
  private let windows: [FloatBuffer]
  private let explored: [ExploredWeight]
  private var importance: [Double]
  private var tracked: [Double]

  /// - Parameters:
  ///   - inputs: takes in what its linears see on the way.
  ///   - scratch: where the sums and other buffers of a weight's size lie; nil for memory.
  /// - Throws: exit 74 where the scratch file's disk is full.
  package init(
    model: any Model, targets: [Linear], settings: Settings, inputs: InputCollector? = nil, scratch: ScratchFile? = nil
  ) throws(GoraError) {
    self.model = model
    self.inputs = inputs
    self.targets = targets
    self.settings = settings
    let positions = [ObjectIdentifier: Int](uniqueKeysWithValues: targets.enumerated().map { (ObjectIdentifier($1), $0) })
    layers = model.blocks.map { $0.compactMap { positions[ObjectIdentifier($0)] } }
    originals = targets.map(\.weight.matrix)
    importance = [Double](repeating: 0, count: targets.count)
    tracked = importance
    func buffers(_ wanted: Bool) throws(GoraError) -> [FloatBuffer] {
      try (wanted ? targets : []).map { target throws(GoraError) in
        try scratch?.floats(target.weight.count) ?? FloatBuffer(zeros: target.weight.count)
      }
    }
    sums = try buffers(true)
    squares = try buffers(settings.keepsSquares)
    windows = try buffers(settings.needsWindows)
    if settings.needsStepGradients, settings.runsWhole {
      stepGradients = Self.shared(by: layers, counts: targets.map(\.weight.count))
    } else {
      stepGradients = try buffers(settings.needsStepGradients)
    }
    var explored: [ExploredWeight] = []
    if let exploration = settings.exploration {
      for (target, copy) in zip(targets, try buffers(true)) {
        target.weight.makeWorkingCopy(in: copy)
        explored.append(
          ExploredWeight(copy, rows: target.outputSize, columns: target.inputSize, exploration: exploration))
      }
    }
    self.explored = explored
    for (target, gradient) in zip(targets, stepGradients.isEmpty ? sums : stepGradients) { target.weight.gradient = gradient }
  }

  deinit {
    for target in targets {
      target.weight.gradient = nil
      target.weight.dropWorkingCopy()
    }
  }

  /// Zeroed buffers that the layers use one after the other.
  private static func shared(by layers: [[Int]], counts: [Int]) -> [FloatBuffer] {
    var pool: [FloatBuffer] = []
    for place in 0..<(layers.map(\.count).max() ?? 0) {
      pool.append(FloatBuffer(zeros: layers.map { $0.count > place ? counts[$0[place]] : 0 }.max() ?? 0))
    }
    var buffers = [FloatBuffer?](repeating: nil, count: counts.count)
    for layer in layers {
      for (place, index) in layer.enumerated() { buffers[index] = pool[place] }
    }
    return buffers.compactMap { $0 }
  }

  /// Adds one micro-batch.
  /// - Throws: exit 1 where its loss or a target's gradient is not finite, naming the target and the rows.
  package func add(_ rows: [EncodedRow]) throws(GoraError) -> Step {
    let pieces = microBatches(rows, maxTokens: settings.microBatchTokens)
    precondition(pieces.count == 1 || !settings.runsWhole)
    let labelled = pieces.reduce(0) { $0 + $1.targets.count }
    var loss = 0.0
    done += 1
    for (i, piece) in pieces.enumerated() {
      let isLast = i == pieces.count - 1
      inputs?.begin(piece)
      if targets.isEmpty {
        loss += model.loss(piece)
        continue
      }
      loss += model.accumulateGradient(piece, scale: 1 / Float(labelled)) { layer in
        for index in self.layers[layer] {
          if isLast { self.finish(index) }
          self.sums[index].letGo()
          if self.settings.keepsSquares { self.squares[index].letGo() }
        }
      }
    }
    loss /= Double(labelled)
    guard loss.isFinite else { throw refusal("the loss is \(loss)", rows) }
    try inputs?.check()
    if let index = importance.firstIndex(where: { !$0.isFinite }) {
      throw refusal("the gradient of \"\(targets[index].weight.name)\" has a NaN or an infinity", rows)
    }
    return Step(
      loss: loss, tokens: pieces.reduce(0) { $0 + $1.tokens }, rows: rows.count, importance: importance,
      tracked: settings.trackEvery.map { done % $0 == 0 } == true ? tracked : nil)
  }

  private func refusal(_ problem: String, _ rows: [EncodedRow]) -> GoraError {
    GoraError(.negative, "micro-batch \(done): \(problem)", hint: "rows of this micro-batch: \(places(of: rows))")
  }

  /// Takes in a weight's gradient of this micro-batch, while it is still at hand.
  private func finish(_ index: Int) {
    let weight = targets[index].weight
    let (sum, count) = (sums[index], weight.count)
    if !stepGradients.isEmpty {
      let gradient = stepGradients[index]
      add(gradient, to: sum, count: count)
      if settings.keepsSquares { addSquares(gradient, to: squares[index], count: count) }
      if let length = settings.trackEvery {
        let window = windows.isEmpty ? gradient : windows[index]
        if !windows.isEmpty { add(gradient, to: window, count: count) }
        if done % length == 0 {
          tracked[index] = WeightGradient(weight: weight.matrix, gradient: window.pointer).meanAbsoluteProduct / Double(length)
          if !windows.isEmpty { window.zero() }
        }
        window.letGo()
      }
      if !explored.isEmpty { explored[index].update(gradient: gradient.pointer, count: count) }
      gradient.zero()
      gradient.letGo()
    }
    importance[index] = WeightGradient(weight: originals[index], gradient: sum.pointer).meanAbsoluteProduct / Double(done)
  }

  private func add(_ x: FloatBuffer, to y: FloatBuffer, count: Int) {
    let (x, y) = (x.pointer, y.pointer)
    parallelRanges(count, grain: 65_536, alignment: 16) { gora_add(y + $0.lowerBound, x + $0.lowerBound, $0.count) }
  }

  private func addSquares(_ x: FloatBuffer, to y: FloatBuffer, count: Int) {
    let (x, y) = (x.pointer, y.pointer)
    parallelRanges(count, grain: 65_536, alignment: 16) { gora_add_squares(y + $0.lowerBound, x + $0.lowerBound, $0.count) }
  }
}
