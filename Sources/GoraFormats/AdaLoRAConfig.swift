import GoraCore

/// What `adapter_config.json` says of AdaLoRA besides ranks and scales (PEFT `tuners/adalora/config.py`).
package struct AdaLoRAConfig: Sendable, Equatable {
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
  /// Whether components were left out already (`rank_pattern`).
  package var isAllocated = false

  package init() {}

  /// - Throws: `.data` with line and column.
  init(reading root: JSONField) throws(GoraError) {
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

  private static func share(_ root: JSONField, _ key: String) throws(GoraError) -> Double? {
    guard let field = try root.optional(key) else { return nil }
    let value = try field.double
    guard value > 0, value < 1 else { throw field.error("\"\(key)\" is \(field.value.compact()); expected between 0 and 1") }
    return value
  }

  /// How many components of each module are there still: `rank_pattern` {module.lora_E: [whether it is]}; PEFT reads keys with the adapter's
  /// name `default` behind, too.
  static func ranks(_ root: JSONField) throws(GoraError) -> [String: Int]? {
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
  package func scaling(alpha: Double) -> Double { (alpha > 0 ? alpha : Double(initialRank)) / (Double(initialRank) + 1e-5) }

  /// The keys as PEFT has them. It reads no folder without `total_step`, and wants a schedule that fits in there; what gora-train does goes by
  /// the steps of its run.
  var members: [JSON.Member] {
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
