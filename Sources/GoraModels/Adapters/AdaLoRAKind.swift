import GoraCore
import GoraFormats

/// ΔW = s·B·diag(E)·A, of which training leaves some components out (Zhang et al. 2023, arXiv 2303.10512), with what `adapter_config.json` says
/// of it (PEFT `tuners/adalora/config.py`).
package struct AdaLoRAKind: AdapterKind, Equatable {
  package static let name = "adalora"
  package static let title = "AdaLoRA"
  package static let peftType = "ADALORA"
  package static let suffixes = AdapterSuffixes(a: ".lora_A", b: ".lora_B", vector: ".lora_E")
  /// Its factors are for training; what others read is plain LoRA.
  package static let profiles: Set<AdapterProfile> = [.native]
  package static let hasOwnRanks = true
  package static let startsAtZero = true
  package static let hasOwnRule = true

  /// `init_r`, the rank of every module before any component is left out.
  package var initialRank = 12
  /// `target_r`, the mean rank at the end.
  package var targetRank = 8
  /// `tinit`, the steps in which nothing is left out; nil: the folder does not say.
  package var initialSteps: Int?
  /// `tfinal`, the steps at the end in which the ranks stay; nil: the folder does not say.
  package var finalSteps: Int?
  /// `deltaT`, the steps from one allocation to the next.
  package var interval = 1
  /// `beta1` and `beta2` of the running means of sensitivity and uncertainty.
  package var beta1 = 0.85
  package var beta2 = 0.85
  /// `orth_reg_weight`, how much the distance of A·Aᵀ and Bᵀ·B from I adds to the loss.
  package var orthogonalWeight = 0.5
  /// How many components of each module are there still, where some were left out already (`rank_pattern`).
  private var ranks: [String: Int]?
  package var isAllocated: Bool { ranks != nil }

  package init() {}

  package init(reading root: JSONField) throws(GoraError) {
    ranks = try Self.ranks(root)
    initialRank = try root.optional("init_r")?.int(in: 1...(1 << 20)) ?? initialRank
    targetRank = try root.optional("target_r")?.int(in: 1...(1 << 20)) ?? targetRank
    initialSteps = try root.optional("tinit")?.int(in: 0...(1 << 40))
    finalSteps = try root.optional("tfinal")?.int(in: 0...(1 << 40))
    interval = try root.optional("deltaT")?.int(in: 1...(1 << 40)) ?? interval
    beta1 = try Self.share(root, "beta1") ?? beta1
    beta2 = try Self.share(root, "beta2") ?? beta2
    if let weight = try root.optional("orth_reg_weight") {
      orthogonalWeight = try weight.double
      guard orthogonalWeight >= 0, orthogonalWeight <= 1e6 else {
        throw weight.error("\"orth_reg_weight\" is \(weight.value.compact()); expected 0 to 1e6")
      }
    }
  }

  /// It begins with one rank for all, of which PEFT's settings leave two thirds.
  package init(ranks: [Int], place: (Int) throws(GoraError) -> JSONField) throws(GoraError) {
    initialRank = ranks.first ?? initialRank
    if let other = ranks.firstIndex(where: { $0 != initialRank }) {
      throw try place(other).error(
        "rank \(ranks[other]), where others have \(initialRank): AdaLoRA begins with one rank for all",
        hint: "gora-plan --uniform makes such a plan")
    }
    targetRank = max(1, (2 * initialRank + 1) / 3)
  }

  private static func share(_ root: JSONField, _ key: String) throws(GoraError) -> Double? {
    guard let field = try root.optional(key) else { return nil }
    let value = try field.double
    guard value > 0, value < 1 else { throw field.error("\"\(key)\" is \(field.value.compact()); expected between 0 and 1") }
    return value
  }

  /// `rank_pattern` {module.lora_E: [whether it is]}; PEFT reads keys with the adapter's
  /// name `default` behind, too.
  private static func ranks(_ root: JSONField) throws(GoraError) -> [String: Int]? {
    guard let pattern = try root.optional("rank_pattern") else { return nil }
    var ranks: [String: Int] = [:]
    for (key, flags) in try pattern.members {
      let name = key.hasSuffix(".default") ? String(key.dropLast(".default".count)) : key
      guard name.hasSuffix(".lora_E") else {
        throw flags.error("the key \"\(key)\" of \"rank_pattern\" does not end in .lora_E, as AdaLoRA's do")
      }
      var rank = 0
      for flag in try flags.elements where try flag.bool { rank += 1 }
      ranks[String(name.dropLast(".lora_E".count))] = rank
    }
    return ranks.isEmpty ? nil : ranks
  }

  /// s = α/(init_r + 1e-5), where an α of 0 or less stands for init_r, whatever the rank is now (PEFT `tuners/adalora/layer.py`).
  package func scaling(alpha: Double) -> Double? { (alpha > 0 ? alpha : Double(initialRank)) / (Double(initialRank) + 1e-5) }

  package func rank(of module: String) -> Int? { ranks?[module] ?? initialRank }

  package static func vectorShape(rank: Int, weight: [Int]) -> [Int]? { [rank, 1] }

  package static func start(
    rank: Int, columns: Int, weight: () throws(GoraError) -> [Float]
  ) throws(GoraError) -> [Float]? { [Float](repeating: 0, count: rank) }

  package static func attach(_ vector: [Float], to adapter: LowRankAdapter, module: String, weight: WeightMatrix) {
    adapter.innerFactor = SingularValues(module: module, values: vector, inputSize: weight.columns)
  }

  package var fault: (problem: String, hint: String)? {
    guard isAllocated else { return nil }
    return (
      "components of this AdaLoRA adapter were left out already, its ranks are what they are",
      "go on with plain LoRA: gora-export --profile native, then gora-train"
    )
  }

  /// PEFT warns of any r but its default; s·(init_r + 1e-5) is the α of which readers find s again.
  package func numbers(of modules: [AdapterModule]) -> AdapterNumbers? {
    let alpha = (modules.first?.scaling ?? 1) * (Double(initialRank) + 1e-5)
    let nearest = alpha.rounded()
    return AdapterNumbers(rank: 8, alpha: abs(alpha - nearest) < 1e-12 * alpha ? nearest : alpha, members: members)
  }

  /// A' = diag(E)·A and B, of the components that are not left out.
  package func folded(_ module: AdapterModule) -> AdapterModule? {
    guard let values = module.vector else { return nil }
    let (rank, shape) = (module.rank, module.shape)
    let kept = (0..<rank).filter { values[$0] != 0 }
    var a: [Float] = []
    a.reserveCapacity(kept.count * shape[1])
    for k in kept { a.append(contentsOf: module.a[k * shape[1]..<(k + 1) * shape[1]].lazy.map { values[k] * $0 }) }
    var b: [Float] = []
    b.reserveCapacity(shape[0] * kept.count)
    for row in 0..<shape[0] { for k in kept { b.append(module.b[row * rank + k]) } }
    return AdapterModule(
      name: module.name, rank: kept.count, alpha: module.scaling * Double(kept.count), scaling: module.scaling, shape: shape,
      a: a, b: b)
  }

  /// The keys as PEFT has them. It reads no folder without `total_step`, and wants a schedule that fits in there; what gora-train does goes by
  /// the steps of its run.
  private var members: [JSON.Member] {
    let (first, last) = (initialSteps ?? 0, finalSteps ?? 0)
    var members: [JSON.Member] = [
      .init("init_r", JSON(initialRank)), .init("target_r", JSON(targetRank)), .init("deltaT", JSON(interval)),
      .init("beta1", JSON(beta1)), .init("beta2", JSON(beta2)), .init("orth_reg_weight", JSON(orthogonalWeight)),
      .init("total_step", JSON(first + last + 1)), .init("rank_pattern", nil),
    ]
    if let initialSteps { members.append(.init("tinit", JSON(initialSteps))) }
    if let finalSteps { members.append(.init("tfinal", JSON(finalSteps))) }
    return members
  }
}

/// The singular values E [r] that make a low-rank product AdaLoRA (Zhang et al. 2023, arXiv 2303.10512, as PEFT's `tuners/adalora/layer.py`
/// has it): ΔW = s·B·diag(E)·A. A component whose value is 0 is left out.
package final class SingularValues: InnerFactor {
  /// E [r, 1].
  package let vector: Parameter
  /// diag(E)·A [r, in], as `refresh` left it.
  package let product: FloatBuffer
  private let rank: Int
  private let columns: Int

  package init(module: String, values: [Float], inputSize: Int) {
    (rank, columns) = (values.count, inputSize)
    vector = Parameter(name: "\(module).lora_E", shape: [rank, 1], values: FloatBuffer(values))
    product = FloatBuffer(zeros: rank * inputSize)
  }

  /// Takes in what E and A are now.
  package func refresh(_ a: Parameter) {
    for k in 0..<rank {
      let (value, row, result) = (vector.vector[k], a.vector + k * columns, product.pointer + k * columns)
      for i in 0..<columns { result[i] = value * row[i] }
    }
  }

  /// dA += diag(E)·g and dE += Σ over the inputs of g⊙A, where they learn, for the gradient g [r, in] of diag(E)·A.
  package func addGradients(_ g: UnsafePointer<Float>, a: Parameter) {
    for k in 0..<rank {
      let (value, line) = (vector.vector[k], g + k * columns)
      if let gradient = vector.gradient {
        gradient.pointer[k] += Float(FixedSum.product(line, a.vector + k * columns, count: columns))
      }
      if let gradient = a.gradient {
        let sum = gradient.pointer + k * columns
        for i in 0..<columns { sum[i] += value * line[i] }
      }
    }
  }
}
