import GoraCore

/// How ranks and scales are laid down in an adapter folder, so that the intended readers agree on ΔW.
///
/// Their rules: PEFT α/r by module, with patterns, or α/√r; vLLM the same since 0.32, before that one factor for all, α/r of the configuration;
/// llama.cpp's converter α of the configuration over each module's own rank, patterns and `use_rslora` unseen.
package enum AdapterProfile: String, CaseIterable, Sendable {
  /// `use_rslora`, `lora_alpha` and `rank_pattern` as trained, B with them: right in PEFT and vLLM from 0.32 on, made to go on training from.
  case native
  /// `use_rslora` false, one α for all modules and no `alpha_pattern`, B·s·r/α in place of B: right in PEFT, vLLM from 0.32 on and llama.cpp.
  case ranked
  /// `use_rslora` false, α = r for every module, the scale folded into B: right in PEFT and every vLLM.
  case compact
  /// Every module padded with zeros to the largest rank, the scale folded into B, no patterns: right in PEFT, vLLM and llama.cpp.
  case padded
}

/// What the configuration says in a profile.
private struct Numbers {
  var rank: Int
  var alpha: Double
  var useRSLoRA: Bool
  var alphaPattern: [JSON.Member] = []
  /// `rank_pattern`, or what a kind has for it.
  var members: [JSON.Member]
}

extension Adapter {
  /// Writes the adapter as a PEFT folder in binary32.
  ///
  /// Modules of rank 0 are left out, as PEFT asks. Equal adapters give equal bytes.
  /// - Parameters:
  ///   - baseModel: `base_model_name_or_path`.
  ///   - provenance: nil leaves it out (`--no-provenance`).
  /// - Throws: `.data` where no module has a rank above 0 or a value is not finite; `.cannotCreate`, `.io` from writing.
  package func write(
    folder: String, profile: AdapterProfile, baseModel: String, provenance: Provenance?
  ) throws(GoraError) {
    try write(
      to: OutputFolder(path: folder, files: Self.fileNames), profile: profile, baseModel: baseModel, provenance: provenance)
  }

  /// The same into a folder that was opened with `fileNames`.
  package func write(
    to folder: OutputFolder, profile: AdapterProfile, baseModel: String, provenance: Provenance?
  ) throws(GoraError) {
    let present = modules.filter { $0.rank > 0 }
    guard let largest = present.map(\.rank).max() else {
      throw GoraError(.data, at: .file(folder.path), "no module has a rank above 0, so there is no adapter to write")
    }
    let kind = type(of: layout)
    guard kind.profiles.contains(profile) else {
      throw GoraError(
        .usage, "the \(profile.rawValue) profile is for readers that do not know \(kind.title)",
        hint:
          "--profile merged is right everywhere, \(AdapterProfile.allCases.filter(kind.profiles.contains).map(\.rawValue).joined(separator: " and ")) in PEFT"
      )
    }
    let numbers = numbers(profile, of: present, largest: largest)
    var factors: [String: [Float]] = [:]
    var entries: [SafetensorsWriter.Entry] = []
    for module in present {
      let rank = profile == .padded ? largest : module.rank
      let scale =
        switch profile {
        case .native: module.nativeScaling.map { module.scaling / $0 } ?? 1
        case .ranked: module.scaling * Double(module.rank) / Double(largest)
        case .compact, .padded: module.scaling
        }
      let (a, b) = module.factors(rank: rank, scale: scale)
      var parts = [([rank, module.shape[1]], a), ([module.shape[0], rank], b)]
      if let shape = kind.vectorShape(rank: rank, weight: module.shape), let vector = module.vector {
        guard vector.count == shape.reduce(1, *) else {
          throw GoraError(
            .data, at: .file(folder.path),
            "module \"\(module.name)\" has a vector of \(vector.count), \(kind.title) one of shape \(shape)")
        }
        parts.append((shape, vector))
      }
      for ((shape, values), suffix) in zip(parts, kind.suffixes.all) {
        guard scale.isFinite, values.allSatisfy(\.isFinite) else {
          throw GoraError(.data, at: .file(folder.path), "module \"\(module.name)\" has factors that are not finite")
        }
        let name = Self.tensorPrefix + module.name + suffix
        factors[name] = values
        entries.append(SafetensorsWriter.Entry(name: name, dtype: .f32, shape: shape))
      }
    }
    var metadata = [("format", "pt")]
    if let model { metadata.append(("gora_model", model)) }
    if let start { metadata.append((Self.startKey, start.compact())) }
    // Padding would come after the components that stay; a padded adapter is for use, not for going on.
    let frozen = profile == .padded ? [] : present.filter { $0.frozenRank > 0 }
    if !frozen.isEmpty {
      metadata.append((Self.frozenKey, JSON(.object(frozen.map { JSON.Member($0.name, JSON($0.frozenRank)) })).compact()))
    }
    let scalings = present.map { JSON.Member($0.name, JSON($0.nativeScaling ?? $0.scaling)) }.filter { $0.value != JSON(0.0) }
    if profile != .native, !scalings.isEmpty { metadata.append((Self.scalingKey, JSON(.object(scalings)).compact())) }
    if let baseQuantization { metadata.append(("gora_base_quantization", baseQuantization)) }
    if let provenance { metadata.append(("gora_provenance", provenance.text)) }

    try SafetensorsWriter.write(to: folder[Self.weightsName], entries: entries, metadata: metadata) {
      entry, append throws(GoraError) in
      try (factors[entry.name] ?? []).giveBytes(to: append)
    }
    try folder[AdapterCard.name].write(
      Array(AdapterCard(adapter: self, profile: profile, baseModel: baseModel, provenance: provenance).text.utf8))
    try folder[Self.configName].write(Array(configuration(numbers, present, baseModel: baseModel).indentedSorted().utf8))
    try folder.commit()
  }

  private func numbers(_ profile: AdapterProfile, of modules: [AdapterModule], largest: Int) -> Numbers {
    let ranks = modules.map { JSON.Member($0.name, JSON($0.rank)) }
    if let own = layout.numbers(of: modules) {
      return Numbers(rank: own.rank, alpha: own.alpha, useRSLoRA: false, members: own.members)
    }
    func patterns(_ ranks: [JSON.Member]) -> [JSON.Member] { [JSON.Member("rank_pattern", JSON(.object(ranks)))] }
    switch profile {
    case .native:
      // α of the rsLoRA rule; an adapter of the plain rule (α/r) keeps its scale by α = s·√r.
      let alphas = modules.map {
        useRSLoRA && $0.nativeScaling == nil
          ? $0.alpha
          : ($0.nativeScaling ?? $0.scaling) * RankPlan.Scaling.rslora.divisor($0.rank, reference: $0.rank)
      }
      let first = alphas.first ?? 1
      let areEqual = alphas.allSatisfy { $0 == first }
      return Numbers(
        rank: largest, alpha: first, useRSLoRA: true,
        alphaPattern: areEqual ? [] : zip(modules, alphas).map { JSON.Member($0.name, JSON(whole: $1)) },
        members: patterns(ranks))
    case .ranked:
      return Numbers(rank: largest, alpha: Double(largest), useRSLoRA: false, members: patterns(ranks))
    case .compact:
      return Numbers(
        rank: largest, alpha: Double(largest), useRSLoRA: false, alphaPattern: ranks, members: patterns(ranks))
    case .padded: return Numbers(rank: largest, alpha: Double(largest), useRSLoRA: false, members: patterns([]))
    }
  }

  private func configuration(_ numbers: Numbers, _ modules: [AdapterModule], baseModel: String) -> JSON {
    let kind = type(of: layout)
    let shared: KeyValuePairs<String, JSON> = [
      "alpha_pattern": JSON(.object(numbers.alphaPattern)), "auto_mapping": nil,
      "base_model_name_or_path": JSON(baseModel), "bias": "none", "exclude_modules": nil, "fan_in_fan_out": false,
      "inference_mode": true, "init_lora_weights": true, "layer_replication": nil, "layers_pattern": nil,
      "layers_to_transform": nil, "loftq_config": JSON(.object([])), "lora_alpha": JSON(whole: numbers.alpha),
      "lora_bias": false, "lora_dropout": JSON(dropout), "megatron_config": nil, "megatron_core": "megatron.core",
      "modules_to_save": nil, "peft_type": JSON(kind.peftType), "r": JSON(numbers.rank), "revision": nil,
      "target_modules": JSON(modules.map(\.name).sorted().map { JSON($0) }), "target_parameters": nil,
      "task_type": taskType.map { JSON($0) } ?? nil, "trainable_token_indices": nil, "use_dora": JSON(kind.usesDoRA),
      "use_qalora": false,
      "use_rslora": JSON(numbers.useRSLoRA),
    ]
    return JSON(.object(shared.map { JSON.Member($0.key, $0.value) } + numbers.members))
  }
}

extension AdapterModule {
  /// A padded with zero rows to `rank`, and `scale`·B padded with zero columns.
  fileprivate func factors(rank padded: Int, scale: Double) -> (a: [Float], b: [Float]) {
    var (a, b) = (a, b)
    if scale != 1 { for i in b.indices { b[i] = Float(Double(b[i]) * scale) } }
    guard padded > rank else { return (a, b) }
    a.append(contentsOf: repeatElement(0, count: (padded - rank) * shape[1]))
    var wide = [Float](repeating: 0, count: shape[0] * padded)
    for row in 0..<shape[0] {
      for column in 0..<rank { wide[row * padded + column] = b[row * rank + column] }
    }
    return (a, wide)
  }
}
