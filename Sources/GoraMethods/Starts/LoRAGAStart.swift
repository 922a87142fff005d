import GoraCore

/// Which of G's first 2r singular directions A (right ones) and B (left ones) start from.
package enum GradientDirections: String, CaseIterable, Sendable {
  /// A the first r, B the r after those.
  case arB2r = "ArB2r"
  /// A the r after the first r, B the first r.
  case a2rBr = "A2rBr"
  /// A every second one, B those before them.
  case arBr = "ArBr"
  /// A a random half, B the other half (the same half in PEFT).
  case random
}

/// How long the factors of a LoRA-GA start are.
package enum GradientScale: String, CaseIterable, Sendable {
  /// s·B·A has the size of a layer's output in training at any width ("stable output"): times out^¼/√γₛ.
  case stable
  /// Over s.
  case gd
  case unit
  /// By the weight's singular values.
  case weight
}

/// A and B from singular directions of the gradient (LoRA-GA, arXiv 2407.05000), as the authors' code has it or as PEFT's `loraga.py`.
package struct LoRAGAStart: AdapterStart {
  /// Whose code.
  package enum Variant: String, CaseIterable, Sendable {
    /// A and B orthonormal but for one length each, equal for both.
    case official
    /// B's columns carry G's singular values, and lengths are B's alone.
    case peft
  }

  package static let name = "lora-ga"
  package static let options: Set<StartOption> = [.stableGamma, .direction, .scale, .variant]
  package static let isResidual = true
  /// γₛ.
  package static let standardStableGamma = 16.0

  private let direction: GradientDirections
  private let scale: GradientScale
  private let variant: Variant
  private let stableGamma: Double

  package init(_ settings: StartSettings = StartSettings()) {
    direction = settings.direction ?? .arB2r
    scale = settings.scale ?? .stable
    variant = settings.variant ?? .official
    stableGamma = settings.stableGamma ?? Self.standardStableGamma
  }

  package var needs: Set<StartEvidence> { scale == .weight ? [.gradient, .weight] : [.gradient] }
  package var record: [(key: String, value: StartValue)] {
    let gamma: [(key: String, value: StartValue)] = scale == .stable ? [("stable_gamma", .number(stableGamma))] : []
    return gamma + [
      ("direction", .text(direction.rawValue)), ("scale", .text(scale.rawValue)), ("variant", .text(variant.rawValue)),
    ]
  }

  package func factors(for module: AdapterModuleInput, random: inout Random) throws(GoraError) -> AdapterFactors {
    let (rows, columns, rank) = (module.rows, module.columns, module.rank)
    let triplets = try module.gradientTriplets(2 * rank, random: &random)
    let (forA, forB) = halves(rank, random: &random)
    func lines(_ vectors: [Float], _ length: Int, _ chosen: [Int]) -> [Float] {
      chosen.flatMap { vectors[$0 * length..<($0 + 1) * length] }
    }
    var (timesA, timesB) = ([Double](repeating: 1, count: rank), [Double](repeating: 1, count: rank))
    if variant == .peft { timesB = forB.map { triplets.values[$0] } }
    let lengths = try lengths(module, firstOfB: triplets.values[forB[0]], random: &random)
    for i in 0..<rank {
      timesA[i] *= lengths.a
      timesB[i] *= lengths.b
    }
    return AdapterFactors(
      left: lines(triplets.left, rows, forB), right: lines(triplets.right, columns, forA), timesA: timesA, timesB: timesB)
  }

  /// Numbers of the directions, 0 the first, that A and B get.
  private func halves(_ rank: Int, random: inout Random) -> (a: [Int], b: [Int]) {
    switch direction {
    case .arB2r: return (Array(0..<rank), Array(rank..<2 * rank))
    case .a2rBr: return (Array(rank..<2 * rank), Array(0..<rank))
    case .arBr: return (Array(stride(from: 1, to: 2 * rank, by: 2)), Array(stride(from: 0, to: 2 * rank, by: 2)))
    case .random:
      var order = Array(0..<2 * rank)
      random.shuffle(&order)
      return (Array(order[..<rank]), Array(variant == .peft ? order[..<rank] : order[rank...]))
    }
  }

  /// Factors on all of A and all of B.
  /// - Parameter firstOfB: the singular value of B's first direction.
  private func lengths(
    _ module: AdapterModuleInput, firstOfB: Double, random: inout Random
  ) throws(GoraError) -> (a: Double, b: Double) {
    let length: Double
    switch scale {
    case .unit: return (1, 1)
    case .gd: return (1 / module.scaling, 1 / module.scaling)
    case .stable: length = Double(module.rows).squareRoot().squareRoot() / stableGamma.squareRoot()
    case .weight:
      let values = try SingularTriplets(
        leading: module.rank, of: module.weight ?? [], rows: module.rows, columns: module.columns, random: &random
      ).values
      length =
        switch variant {
        case .official: values.reduce(0) { $0 + ($1 / module.scaling).squareRoot() } / Double(module.rank)
        case .peft: firstOfB > 0 ? values[0] / firstOfB : 1
        }
    }
    return variant == .official ? (length, length) : (1, length)
  }
}
