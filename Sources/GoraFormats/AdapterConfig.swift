import GoraCore

/// What `adapter_config.json` says about ranks and scales (PEFT's `LoraConfig` and those of its relatives).
struct AdapterConfig: Sendable {
  let layout: any AdapterLayout
  let rank: Int
  let alpha: Double
  let useRSLoRA: Bool
  let baseModel: String?
  /// Trained with this share of the inputs left out (`lora_dropout`).
  let dropout: Double
  let targets: AdapterTargets
  private let rankPattern: PatternTable<Int>
  private let alphaPattern: PatternTable<Double>

  /// Reads a configuration; everything that would change what the adapter computes, and is not plain LoRA, is refused by name.
  /// - Throws: `.data` with line and column.
  init(reading root: JSONField, kinds: [any AdapterLayout.Type]) throws(GoraError) {
    let type = try root.required("peft_type")
    let name = try type.string
    let usesDoRA = try root.optional("use_dora")?.bool ?? false
    guard let kind = kinds.first(where: { $0.peftType == name && $0.usesDoRA == usesDoRA }) else {
      var known: [String] = []
      for kind in kinds where !known.contains(kind.peftType) { known.append(kind.peftType) }
      throw type.error(
        "peft_type is \"\(name)\"\(usesDoRA ? " with use_dora" : ""); gora reads \(known.joined(separator: " and "))")
    }
    layout = try kind.init(reading: root)
    try Self.refuseOtherMethods(root)
    rank = try root.optional("r")?.int(in: 1...(1 << 20)) ?? 8
    alpha = try root.optional("lora_alpha")?.double ?? 8
    let usesRSLoRA = try root.optional("use_rslora")?.bool ?? false
    useRSLoRA = !kind.hasOwnRanks && usesRSLoRA
    baseModel = try root.optional("base_model_name_or_path")?.string
    let dropout = try root.optional("lora_dropout")
    self.dropout = try dropout?.double ?? 0
    if let dropout, !(0...1 ~= self.dropout) {
      throw dropout.error("\"lora_dropout\" is \(dropout.value.compact()); expected a share from 0 to 1")
    }
    targets = try AdapterTargets(reading: root)
    if kind.hasOwnRanks {
      (rankPattern, alphaPattern) = (PatternTable([]), PatternTable([]))
      return
    }
    rankPattern = try Self.table(root, "rank_pattern") { field throws(GoraError) in try field.int(in: 1...(1 << 20)) }
    alphaPattern = try Self.table(root, "alpha_pattern") { field throws(GoraError) in try field.double }
  }

  func rank(of module: String) -> Int { layout.rank(of: module) ?? rankPattern.value(for: module) ?? rank }
  func alpha(of module: String) -> Double { alphaPattern.value(for: module) ?? alpha }

  /// s of a module.
  func scaling(of module: String, rank: Int) -> Double {
    layout.scaling(alpha: alpha) ?? alpha(of: module) / RankPlan.Scaling(isRSLoRA: useRSLoRA).divisor(rank, reference: rank)
  }

  private static func table<Value>(
    _ root: JSONField, _ key: String, _ read: (JSONField) throws(GoraError) -> Value
  ) throws(GoraError) -> PatternTable<Value> {
    guard let field = try root.optional(key) else { return PatternTable([]) }
    var rules: [(pattern: ModulePattern, value: Value)] = []
    for (name, value) in try field.members {
      guard let pattern = ModulePattern(name) else {
        throw value.error(
          "the key \"\(name)\" of \"\(key)\" is a regular expression that gora does not read", hint: "write full module paths")
      }
      rules.append((pattern, try read(value)))
    }
    return PatternTable(rules)
  }

  private static func refuseOtherMethods(_ root: JSONField) throws(GoraError) {
    func refuse(_ field: JSONField, _ key: String) -> GoraError {
      field.error("\"\(key)\" is \(field.value.compact()); gora reads adapters without it")
    }
    for key in ["lora_bias", "fan_in_fan_out", "use_qalora", "ensure_weight_tying"] {
      if let field = try root.optional(key), try field.bool { throw refuse(field, key) }
    }
    if let bias = try root.optional("bias"), try bias.string != "none" { throw refuse(bias, "bias") }
    let mustBeNull = [
      "modules_to_save", "layer_replication", "trainable_token_indices", "target_parameters",
      "alora_invocation_tokens", "arrow_config", "use_bdlora", "kasa_config", "monteclora_config", "megatron_config",
    ]
    for key in mustBeNull {
      guard let field = try root.optional(key) else { continue }
      switch field.value.content {
      case .array([]), .object([]), .bool(false): continue
      default: throw refuse(field, key)
      }
    }
    // PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA also change the base weights, which the folder does not hold.
    if let field = try root.optional("init_lora_weights"), case .string(let name) = field.value.content,
      !["gaussian", "eva", "orthogonal"].contains(name)
    {
      throw field.error(
        "\"init_lora_weights\" is \"\(name)\", which changes the base weights",
        hint: "save the adapter with PEFT's path_initial_model_for_weight_conversion")
    }
  }
}
