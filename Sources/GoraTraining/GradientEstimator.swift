import CGoraKernels
import GoraCore
import GoraFormats
import GoraMethods
import GoraModels
import GoraText

/// G: the mean over N micro-batches of the gradient of each one's mean loss (GoRA section 3.1; summed in f32, all N counted). The
/// weights stay as they are, or with an `Exploration` move from one micro-batch to the next and come back when the estimator goes.
///
/// A micro-batch runs in pieces of at most `microBatchTokens` tokens, piece k of the run on process k mod P, P of them at a time. Each piece's
/// gradient begins at 0, and is added in the order of the pieces: by one process as soon as the weight's product is made, in a buffer that
/// all weights share and a cache may hold; by several when a layer is done (`LayerExchange`), each the rows of `RowShares`, so that
/// sums take their size once, not once a process, and are the same bits for any P. Weights that move are whole in each process, which puts a
/// micro-batch's gradients together and moves them as the others do.
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
    /// Whether the run may end after any micro-batch.
    package var mayStop = false

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

    /// Whether more is wanted of a micro-batch's own gradient than to add it.
    private var needsStepGradients: Bool { exploration != nil || trackEvery != nil || keepsSquares }
    /// Whether several processes move weights of their own.
    private var movesAlike: Bool { exploration != nil && !ProcessGroup.isAlone }
    /// Whether the gradients of a micro-batch's pieces are summed apart from those before.
    package var needsStepSums: Bool { needsStepGradients && !runsWhole || movesAlike }
    /// Whether no micro-batch is begun before the one before it has ended.
    var takesTurns: Bool { mayStop || exploration != nil }
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
  /// Σ of the micro-batches' gradients, of each target the rows that this process sums; G is this over `done`.
  package let sums: [FloatBuffer]
  /// Σ of the micro-batches' gradients, each entry squared: over `done` the diagonal of the empirical Fisher information, for
  /// micro-batches of one row. Empty where they are not kept.
  package let squares: [FloatBuffer]
  /// Micro-batches begun; after `run` those added.
  package private(set) var done = 0

  private let model: any Model
  private let settings: Settings
  private let inputs: InputCollector?
  /// Targets of each layer, as indices.
  private let layers: [[Int]]
  /// The weights as they lie in the checkpoint.
  private let originals: [WeightMatrix]
  private let shares: [RowShares]
  /// Σ over the pieces of the micro-batch at work.
  private let stepSums: [FloatBuffer]
  private let windows: [FloatBuffer]
  private let explored: [ExploredWeight]
  /// A weight's gradient of the micro-batch that has ended, with all rows.
  private let stepGradient = FloatBuffer()
  private let exchange: LayerExchange?
  /// What runs through the model now.
  private var running: Piece?

  /// A micro-batch that is not complete yet.
  private final class OpenStep {
    let number: Int
    let rows: [EncodedRow]
    let labelled: Int
    let tokens: Int
    var loss = 0.0
    /// Σ|W⊙ΣG| of each target's `RowBlocks`, those summed here.
    var products: [[Double]]
    /// The same of the window that ends with it.
    var tracked: [[Double]]

    init(number: Int, rows: [EncodedRow], pieces: [PackedBatch], targets: Int) {
      self.number = number
      self.rows = rows
      labelled = pieces.reduce(0) { $0 + $1.targets.count }
      tokens = pieces.reduce(0) { $0 + $1.tokens }
      products = [[Double]](repeating: [], count: targets)
      tracked = products
    }
  }

  /// What runs through the model at once.
  private struct Piece {
    let batch: PackedBatch
    let step: OpenStep
    let isFirst: Bool
    let isLast: Bool
  }

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
    let shares = targets.enumerated().map { index, target in
      RowShares(RowBlocks(rows: target.outputSize, columns: target.inputSize), index: index)
    }
    self.shares = shares
    func buffers(_ wanted: Bool, whole: Bool = false) throws(GoraError) -> [FloatBuffer] {
      try (wanted ? targets.indices : 0..<0).map { index throws(GoraError) in
        let target = targets[index]
        let count = whole ? target.weight.count : shares[index].rows(of: ProcessGroup.rank).count * target.inputSize
        return try scratch?.floats(count) ?? FloatBuffer(zeros: count)
      }
    }
    sums = try buffers(true)
    squares = try buffers(settings.keepsSquares)
    windows = try buffers(settings.needsWindows)
    stepSums = try buffers(settings.needsStepSums)
    var explored: [ExploredWeight] = []
    if let exploration = settings.exploration?.settled(for: model) {
      for (target, copy) in zip(targets, try buffers(true, whole: true)) {
        target.weight.makeWorkingCopy(in: copy)
        explored.append(
          ExploredWeight(copy, rows: target.outputSize, columns: target.inputSize, exploration: exploration))
      }
    }
    self.explored = explored
    exchange = ProcessGroup.isAlone ? nil : LayerExchange(targets: targets, layers: layers, shares: shares)
    if let exchange {
      for (target, buffer) in zip(targets, exchange.gradients) { target.weight.gradient = buffer }
    } else {
      let buffer = FloatBuffer(capacity: targets.map(\.weight.count).max() ?? 0)
      for (index, target) in targets.enumerated() {
        target.weight.gradient = buffer
        target.weight.gradientIsDone = { [unowned self] in
          if let running { take(index, buffer.pointer, of: running) }
        }
      }
    }
  }

  deinit {
    for target in targets {
      target.weight.gradient = nil
      target.weight.gradientIsDone = nil
      target.weight.dropWorkingCopy()
    }
  }

  /// Floats of the buffers that weights or layers share.
  /// - Parameters:
  ///   - weight: those of the largest weight.
  ///   - layer: those of the largest layer's weights.
  ///   - explores: whether weights move.
  package static func sharedFloats(weight: Int, layer: Int, explores: Bool) -> Int {
    ProcessGroup.isAlone ? weight : 4 * layer + (explores ? weight : 0)
  }

  /// Adds one micro-batch.
  /// - Throws: as `run`.
  package func add(_ rows: [EncodedRow]) throws(GoraError) -> Step {
    var rest: [EncodedRow]? = rows
    var steps: [Step] = []
    try run {
      defer { rest = nil }
      return rest
    } ended: { round in
      steps += round
      return false
    }
    precondition(steps.count == 1, "a micro-batch of no rows")
    return steps[0]
  }

  /// Adds micro-batches.
  /// - Parameters:
  ///   - next: the next one's rows; nil after the last.
  ///   - ended: told of those that have ended; whether the run ends with them, as it may with `mayStop`.
  /// - Throws: exit 1 where a loss or a target's gradient is not finite, naming the target and the rows.
  package func run(_ next: () -> [EncodedRow]?, ended: ([Step]) throws(GoraError) -> Bool) throws(GoraError) {
    var waiting: [Piece] = []
    while true {
      while waiting.count < ProcessGroup.size, waiting.isEmpty || !settings.takesTurns, let rows = next() {
        waiting += pieces(of: rows)
      }
      if waiting.isEmpty { return }
      let round = Array(waiting.prefix(ProcessGroup.size))
      waiting.removeFirst(round.count)
      let steps = try run(round)
      if !steps.isEmpty, try ended(steps) { return }
    }
  }

  private func pieces(of rows: [EncodedRow]) -> [Piece] {
    let batches = microBatches(rows, maxTokens: settings.microBatchTokens)
    precondition(batches.count == 1 || !settings.runsWhole)
    done += 1
    let step = OpenStep(number: done, rows: rows, pieces: batches, targets: targets.count)
    return batches.enumerated().map { Piece(batch: $1, step: step, isFirst: $0 == 0, isLast: $0 == batches.count - 1) }
  }

  /// Runs as many pieces as there are processes, or the last ones; returns the micro-batches that end with them.
  private func run(_ round: [Piece]) throws(GoraError) -> [Step] {
    var loss = 0.0
    if ProcessGroup.rank < round.count {
      let own = round[ProcessGroup.rank]
      inputs?.begin(own.batch)
      if targets.isEmpty {
        loss = model.loss(own.batch)
      } else {
        for target in targets { target.weight.gradientIsStale = true }
        running = own
        defer { running = nil }
        loss = model.accumulateGradient(own.batch, scale: 1 / Float(own.step.labelled)) { self.finish($0, round) }
      }
    } else {
      for layer in layers.indices.reversed() { finish(layer, round) }
    }
    exchange?.end(open: 1) { take($0, $2, of: round[$1]) }
    inputs?.end(round.map(\.batch))
    if exchange != nil, round.contains(where: \.isLast) { moveAlike() }
    let steps = round.filter(\.isLast).map(\.step)
    gather(loss, of: round, steps)
    try inputs?.check()
    return try steps.map { step throws(GoraError) in try result(of: step) }
  }

  /// Sends a layer's gradients to those who sum them, where there are several processes.
  private func finish(_ layer: Int, _ round: [Piece]) {
    if layers[layer].isEmpty { return }
    if ProcessGroup.rank < round.count {
      // What the piece has no gradient of.
      for index in layers[layer] where targets[index].weight.gradientIsStale {
        targets[index].weight.gradient?.zero()
        targets[index].weight.gradientIsDone?()
      }
    }
    exchange?.begin(layer, running: round.count)
    exchange?.end(open: 2) { take($0, $2, of: round[$1]) }
  }

  /// Adds a piece's gradient of the rows that are summed here; with its last piece a micro-batch's gradient is complete.
  private func take(_ index: Int, _ gradient: UnsafePointer<Float>, of piece: Piece) {
    let weight = targets[index].weight
    let rows = shares[index].rows(of: ProcessGroup.rank)
    let columns = targets[index].inputSize
    let count = rows.count * columns
    if count == 0 { return }
    var gradient = gradient
    if !stepSums.isEmpty {
      let sum = stepSums[index]
      if piece.isFirst {
        sum.pointer.update(from: gradient, count: count)
      } else {
        Elementwise.add(gradient, to: sum.pointer, count: count)
      }
      gradient = UnsafePointer(sum.pointer)
    }
    let sum = sums[index].pointer
    defer {
      for kept in [sums, squares, stepSums, windows] where !kept.isEmpty { kept[index].letGo() }
      // Its layer has let it go before, where others' gradients come later.
      if exchange != nil { weight.releasePages() }
    }
    guard piece.isLast else {
      if stepSums.isEmpty { Elementwise.add(gradient, to: sum, count: count) }
      return
    }
    let blocks = shares[index].parts[ProcessGroup.rank]
    nonisolated(unsafe) let added = gradient
    piece.step.products[index] = WeightGradient(weight: originals[index], gradient: sum, firstRow: rows.lowerBound)
      .absoluteProducts(
        of: blocks
      ) { part in
        let from = (part.lowerBound - rows.lowerBound) * columns
        gora_add(sum + from, added + from, part.count * columns)
      }
    if settings.keepsSquares { addSquares(gradient, to: squares[index].pointer, count: count) }
    if let length = settings.trackEvery {
      if !windows.isEmpty { Elementwise.add(gradient, to: windows[index].pointer, count: count) }
      if piece.step.number % length == 0 {
        let window = windows.isEmpty ? gradient : UnsafePointer(windows[index].pointer)
        piece.step.tracked[index] = WeightGradient(weight: weight.matrix, gradient: window, firstRow: rows.lowerBound)
          .absoluteProducts(of: blocks)
        if !windows.isEmpty { windows[index].zero() }
      }
    }
    if !explored.isEmpty, exchange == nil { explored[index].update(gradient: gradient, count: count) }
  }

  /// Moves the weights of all processes by the same whole gradients.
  private func moveAlike() {
    for (index, weight) in explored.enumerated() {
      gather(stepSums[index], of: index, into: stepGradient, on: nil)
      weight.update(gradient: stepGradient.pointer, count: targets[index].weight.count)
      stepSums[index].letGo()
    }
  }

  private func addSquares(_ x: UnsafePointer<Float>, to y: UnsafeMutablePointer<Float>, count: Int) {
    nonisolated(unsafe) let (x, y) = (x, y)
    parallelRanges(count, grain: 65_536, alignment: 16) { gora_add_squares(y + $0.lowerBound, x + $0.lowerBound, $0.count) }
  }

  // MARK: Results

  /// Has every process's losses and sums over blocks.
  private func gather(_ loss: Double, of round: [Piece], _ ended: [OpenStep]) {
    let own = [loss] + ended.flatMap { $0.products.joined() } + ended.flatMap { $0.tracked.joined() }
    let all = ProcessGroup.allGather(own)
    for (rank, piece) in round.enumerated() { piece.step.loss += all[rank][0] }
    if ProcessGroup.isAlone { return }
    var next = all.map { _ in 1 }
    func whole(_ index: Int) -> [Double] {
      var values = [Double](repeating: 0, count: shares[index].blocks.count)
      for rank in all.indices {
        for block in shares[index].parts[rank] {
          values[block] = all[rank][next[rank]]
          next[rank] += 1
        }
      }
      return values
    }
    for step in ended { step.products = targets.indices.map(whole) }
    for step in ended where endsWindow(step) { step.tracked = targets.indices.map(whole) }
  }

  private func endsWindow(_ step: OpenStep) -> Bool { settings.trackEvery.map { step.number % $0 == 0 } ?? false }

  private func result(of step: OpenStep) throws(GoraError) -> Step {
    func refusal(_ problem: String) -> GoraError {
      GoraError(.negative, "micro-batch \(step.number): \(problem)", hint: "rows of this micro-batch: \(places(of: step.rows))")
    }
    func means(_ products: [[Double]], over steps: Int) -> [Double] {
      zip(targets, products).map { $0.weight.count == 0 ? 0 : $1.reduce(0, +) / Double($0.weight.count) / Double(steps) }
    }
    let loss = step.loss / Double(step.labelled)
    guard loss.isFinite else { throw refusal("the loss is \(loss)") }
    let importance = means(step.products, over: step.number)
    if let index = importance.firstIndex(where: { !$0.isFinite }) {
      throw refusal("the gradient of \"\(targets[index].weight.name)\" has a NaN or an infinity")
    }
    return Step(
      loss: loss, tokens: step.tokens, rows: step.rows.count, importance: importance,
      tracked: endsWindow(step) ? means(step.tracked, over: settings.trackEvery ?? 1) : nil)
  }

  /// Where the exploration has led a target [out, in]: its weight now less the original. The explored weight gives its place up for it.
  package func displacement(of index: Int) -> FloatBuffer {
    explored[index].subtract(originals[index])
  }

  /// A target's sum, or sum of squares, with the rows of all processes: on the first one, nil on the others.
  /// - Parameter whole: where it is put together, if there are others.
  package func collected(_ part: FloatBuffer, of index: Int, into whole: FloatBuffer) -> FloatBuffer? {
    if ProcessGroup.isAlone { return part }
    gather(part, of: index, into: whole, on: 0)
    return ProcessGroup.isFirst ? whole : nil
  }

  /// Puts a target's rows together, which each process has some of.
  /// - Parameter taker: who gets them; nil for all.
  private func gather(_ part: FloatBuffer, of index: Int, into whole: FloatBuffer, on taker: Int?) {
    let (own, columns) = (ProcessGroup.rank, targets[index].inputSize)
    let messages = ProcessGroup.Messages()
    let takes = taker == nil || taker == own
    let sum = takes ? whole.reserve(targets[index].weight.count) : nil
    for rank in 0..<ProcessGroup.size {
      let rows = shares[index].rows(of: rank)
      let count = rows.count * columns
      if rank == own {
        if let sum { (sum + rows.lowerBound * columns).update(from: part.pointer, count: count) }
        continue
      }
      if let sum { messages.receive(sum + rows.lowerBound * columns, bytes: 4 * count, from: rank) }
      if taker == nil || taker == rank {
        messages.send(part.pointer, bytes: 4 * shares[index].rows(of: own).count * columns, to: rank)
      }
    }
    messages.wait()
  }
}
