import GoraCore
import GoraFormats
import GoraModels

/// `--recompute`: whether each layer's forward pass runs again in backward, so that less is kept.
package enum RecomputeChoice: String, Sendable, CaseIterable {
  /// Where the run would not fit otherwise.
  case auto
  case always, never
}

/// What a run will hold in memory at its peak, and how long it will take.
///
/// Memory is counted: what the process holds already is read from the kernel, and the buffers that the run adds are added up one by
/// one. Anonymous memory is what nobody can take back; mapped memory (weights, libraries, spilled gradients) is the page cache's.
package struct RunEstimate: Sendable, CustomStringConvertible {
  /// What a run that learns adds.
  package struct Demand: Sendable {
    /// Tokens of the largest piece that runs through the model at once.
    package var tokens: Int
    /// Most labelled tokens of a piece.
    package var labelled: Int
    /// Of the whole run.
    package var allTokens: Int
    package var allLabelled = 0
    /// The same of the largest piece that is only measured.
    package var forwardTokens = 0
    package var forwardLabelled = 0
    /// Token ids that occur.
    package var distinctTokens: Int
    /// The lowest layer that learns.
    package var lowestLayer: Int
    /// Floats of weights' gradients that each token adds to.
    package var learnt: Int
    /// Floats of gradient sums, copies and the like that are yet to be made; those that `spills` moves to a file.
    package var gradients: Int
    /// Floats of them that are in use at a time, and so resident even where they are in a file.
    package var gradientsAtOnce = 0
    /// Floats of gradients that stay in memory in any case.
    package var stepGradients = 0
    /// Floats of optimiser state that are yet to be made.
    package var optimiser = 0
    /// Bytes of the components of inputs, and of making them.
    package var inputs = 0
    /// Bytes that writing the output takes.
    package var output = 0
  }

  /// What a run that only measures adds.
  struct ForwardDemand {
    /// Bytes of activations and scratch.
    var activations: Int
    /// Bytes of keys and values, of answers as long as they may be.
    var cache = 0
    /// Bytes of the components of inputs, and of making them.
    var inputs = 0
    /// Token ids that occur, or may.
    var distinctTokens: Int
    /// Whether layers let their weights go when they are done.
    var releasesWeights: Bool
    /// Of the whole run; nil where that is not known before.
    var tokens: (all: Int, labelled: Int)?
  }

  /// Bytes resident before the run begins.
  package let heldAnonymous: Int
  package let heldMapped: Int
  /// Bytes of 4-bit weights, which are part of what is held.
  package let quantized: Int
  /// Bytes of mapped weights that the run reads.
  package let weights: Int
  /// Bytes of anonymous memory that may still be taken.
  package let available: Int
  /// Bytes that anonymous memory and mapped files may take together.
  private let shared: Int
  /// Elements of all decoder linears.
  private let linearWeights: Int
  package let optimiser: Int
  /// Of keys and values.
  package let cache: Int
  /// Multiplications and additions of the whole run, without recomputation; nil where they are not known.
  private let operations: Double?
  private let again: Double
  /// f32 products on this machine now, in operations a second.
  package let rate: Double
  private let kept: Int
  private let recomputed: Int
  private let demand: Demand

  /// Whether layers run forward again in backward.
  package var recomputes = false
  /// Whether gradient sums lie in a file.
  package var spills = false

  init(_ loaded: LoadedModel, _ demand: Demand, memory: MemoryAllowance = MemoryAllowance()) {
    let (model, config) = (loaded.model, loaded.config)
    func activations(_ recomputes: Bool) -> Int {
      max(
        model.activationBytes(
          tokens: demand.tokens, labelled: demand.labelled, lowest: demand.lowestLayer, recomputes: recomputes),
        model.lossBytes(tokens: demand.forwardTokens, labelled: demand.forwardLabelled))
    }
    // Two operations a weight and token forward, two for the input's gradient, two where the weight's own is summed.
    let weights = config.linearWeights + config.headWeights
    self.init(
      loaded, demand, weights: model.mappedBytes(distinctTokens: demand.distinctTokens, releases: true), kept: activations(false),
      recomputed: activations(true), cache: 0, operations: 2 * Double(demand.allTokens) * Double(2 * weights + demand.learnt),
      memory: memory)
  }

  init(_ loaded: LoadedModel, _ demand: ForwardDemand, memory: MemoryAllowance = MemoryAllowance()) {
    let config = loaded.config
    let operations = demand.tokens.map { all, labelled in
      2 * Double(all) * Double(config.linearWeights) + 2 * Double(labelled) * Double(config.headWeights)
    }
    var nothing = Demand(
      tokens: 0, labelled: 0, allTokens: 0, distinctTokens: 0, lowestLayer: loaded.model.blocks.count, learnt: 0, gradients: 0)
    nothing.inputs = demand.inputs
    self.init(
      loaded, nothing,
      weights: loaded.model.mappedBytes(distinctTokens: demand.distinctTokens, releases: demand.releasesWeights),
      kept: demand.activations, recomputed: demand.activations, cache: demand.cache, operations: operations,
      memory: memory)
  }

  private init(
    _ loaded: LoadedModel, _ demand: Demand, weights: Int, kept: Int, recomputed: Int, cache: Int, operations: Double?,
    memory: MemoryAllowance
  ) {
    // The first products make the library's own buffers, so that what is held counts them.
    rate = Matmul.measuredRate()
    heldAnonymous = ProcessMemory.anonymous
    heldMapped = ProcessMemory.mapped
    available = memory.available
    shared = memory.shared
    linearWeights = loaded.config.linearWeights
    quantized = loaded.model.linears.reduce(0) { sum, linear in
      if case .nf4(let codes) = linear.weight.matrix.storage { sum + codes.byteCount } else { sum }
    }
    optimiser = 4 * demand.optimiser
    again = 2 * Double(demand.allTokens) * Double(linearWeights)
    self.demand = demand
    self.weights = weights
    self.kept = kept
    self.recomputed = recomputed
    self.cache = cache
    self.operations = operations
  }

  /// Takes what `auto` leaves open: gradients to a file first, which costs little, then recomputation.
  /// - Parameter spills: nil for auto.
  mutating func settle(spills choice: Bool?, recompute: RecomputeChoice) {
    recomputes = recompute == .always
    spills = false
    spills = choice ?? !fits
    if recompute == .auto { recomputes = !fits }
  }

  /// Bytes of activations, scratch and the writer's buffers.
  package var activations: Int { (recomputes ? recomputed : kept) + demand.output }
  /// Bytes of gradients in memory, in a file left out.
  package var gradients: Int { 4 * (demand.stepGradients + (spills ? 0 : demand.gradients)) }
  /// Bytes of gradients in a file.
  package var spilled: Int { spills ? 4 * demand.gradients : 0 }

  /// Bytes of the components of inputs, and of making them.
  package var inputs: Int { demand.inputs }

  /// What the run adds to anonymous memory.
  private var added: Int { activations + gradients + optimiser + cache + demand.inputs }
  /// At the peak.
  package var anonymous: Int { heldAnonymous + added }
  /// Resident at the peak where memory is plenty; the kernel may take any of it.
  package var mapped: Int { heldMapped + weights + (spills ? 4 * demand.gradientsAtOnce : 0) }
  package var total: Int { anonymous + mapped }

  /// Whether the run leaves a fifth of the available memory to others.
  package var fits: Bool { Double(added) <= 0.8 * Double(available) }

  /// Before anything of it is taken: whether the memory is there, and whether mapped weights can stay beside it.
  ///
  /// - Parameter isTried: nothing is taken in this run, so that a warning says enough.
  /// - Throws: status 71 where it is not, unless `memory` ignores that.
  func require(
    _ memory: MemoryAllowance, options: MemoryOptions, isTried: Bool, events: EventHandler
  ) throws(GoraError) {
    try memory.require(
      added, for: "the run (\(parts.joined(separator: ", ")))", remedies: remedies(options), isTried: isTried, events: events)
    let all = added * ProcessGroup.ranksOnThisMachine
    guard added <= available, all + weights > shared else { return }
    let small = NF4Weight.byteCount(elements: linearWeights)
    let isHelped = options.canQuantize && small * ProcessGroup.ranksOnThisMachine + all <= shared
    events(
      .warning(
        "the weights, \(Self.mebibytes(weights)), do not stay in memory beside the run's \(Self.mebibytes(all)): "
          + "\(Self.mebibytes(shared)) are free, so they are read from the disk again and again"
          + (isHelped ? "; --quantize nf4 holds the linears in \(Self.mebibytes(small))" : "")))
  }

  /// Options that were not given, or say otherwise, and would lower what the run adds.
  private func remedies(_ options: MemoryOptions) -> [String] {
    var remedies: [String] = []
    if options.recompute == .never, recomputed < kept { remedies.append("--recompute auto") }
    if options.forbidsSpilling, demand.gradients > 0 { remedies.append("--spill auto") }
    if let longest = options.longestRow, longest < demand.tokens {
      remedies.append("--micro-batch-tokens below \(demand.tokens)")
    } else if options.cutsRows, demand.tokens > 2 {
      remedies.append("--max-length below \(demand.tokens)")
    }
    if options.answers { remedies += ["--batch-size", "--max-new-tokens"] }
    if options.quantization != nil, quantized > 0 { remedies.append("no --quantize") }
    return remedies
  }

  /// Seconds, at seven tenths of the products' rate: with norms, attention and the rest, steps reach 0.65 of it (15M shape) to 1
  /// (330M shape), tiny models less.
  package var seconds: Double? { operations.map { ($0 + (recomputes ? again : 0)) / (0.7 * rate) } }

  /// For `--json`: bytes at the peak, all of them and by kind.
  package var json: JSON {
    var members: [JSON.Member] = [
      .init("memory_bytes", JSON(total)), .init("anonymous_bytes", JSON(anonymous)), .init("mapped_bytes", JSON(mapped)),
    ]
    if let seconds { members.append(.init("seconds", JSON(seconds))) }
    return JSON(.object(members))
  }

  /// What the run adds, by kind.
  private var parts: [String] {
    var parts = ["activations \(Self.mebibytes(activations))\(recomputes ? ", recomputed" : "")"]
    if gradients > 0 { parts.append("gradients \(Self.mebibytes(gradients))") }
    if optimiser > 0 { parts.append("optimiser \(Self.mebibytes(optimiser))") }
    if demand.inputs > 0 { parts.append("inputs \(Self.mebibytes(demand.inputs))") }
    if cache > 0 { parts.append("keys and values \(Self.mebibytes(cache))") }
    return parts
  }

  package var description: String {
    var parts = parts
    if quantized > 0 { parts.append("4-bit weights \(Self.mebibytes(quantized))") }
    parts.append("before \(Self.mebibytes(heldAnonymous - quantized))")
    let file = spilled > 0 ? "; gradients of \(Self.mebibytes(spilled)) in a scratch file" : ""
    let time = seconds.map { "; time about \(NumberText.duration($0)) at \(NumberText.significant(rate / 1e9)) GFLOP/s" } ?? ""
    let process = ProcessGroup.isAlone ? "" : " a process"
    return
      "memory about \(Self.mebibytes(total))\(process): \(Self.mebibytes(anonymous)) anonymous (\(parts.joined(separator: ", "))), "
      + "\(Self.mebibytes(mapped)) mapped (weights \(Self.mebibytes(weights)))\(file)\(time)"
  }

  static func mebibytes(_ bytes: Int) -> String { "\((bytes + (1 << 19)) >> 20) MiB" }
}
