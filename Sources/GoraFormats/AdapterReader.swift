import GoraCore

/// Who reads adapter folders, and by what rule each finds the factor s of a module; that all mean the same ΔW is not said anywhere.
package enum AdapterReader: String, CaseIterable, Sendable {
  /// α/r or α/√r, each module by the patterns (`tuners/lora/layer.py`); AdaLoRA's own.
  case peft
  /// As PEFT, from 0.32 on.
  case vllm
  /// α/r or α/√r of the configuration for all modules: the patterns are not looked at.
  case oldVLLM = "vllm-0.31"
  /// `convert_lora_to_gguf.py` and `llama-adapter.cpp`: α of the configuration over each module's own rank; an α of 0 is a factor of 1.
  case llamaCPP = "llama.cpp"

  /// Values that vLLM's `--max-lora-rank` takes.
  private static let vLLMRanks = [1, 8, 16, 32, 64, 128, 256, 320, 512]
  /// The least of them that allows a rank; nil where none does.
  package static func vLLMRank(for rank: Int) -> Int? { vLLMRanks.first { $0 >= rank } }

  /// What the reader would do with a folder.
  package struct Reading: Sendable {
    /// Why it refuses the folder; nil where it takes it.
    package var refusal: String?
    /// s of the adapter's modules, in their order.
    package var scalings: [Double] = []
  }

  /// - Parameters:
  ///   - adapter: what was read of the folder.
  ///   - hasHead: whether the base has an lm_head of its own.
  /// - Throws: as reading the folder does.
  package func reading(
    _ adapter: Adapter, folder: String, kinds: [any AdapterLayout.Type], hasHead: Bool
  ) throws(GoraError) -> Reading {
    let path = "\(folder)/\(Adapter.configName)"
    let config = try AdapterConfig(reading: JSONDocument(path: path, text: readWholeFile(path)).root, kinds: kinds)
    let largest = adapter.modules.map(\.rank).max() ?? 0
    let kind = type(of: config.layout)
    if self != .peft, !kind.isReadElsewhere { return Reading(refusal: "it does not know \(kind.title)") }
    switch self {
    case .peft: return Reading(scalings: adapter.modules.map { config.scaling(of: $0.name, rank: $0.rank) })
    case .vllm, .oldVLLM:
      if Self.vLLMRank(for: largest) == nil { return Reading(refusal: "the largest rank is \(largest), it takes 512 at most") }
      if self == .oldVLLM, largest > config.rank {
        return Reading(refusal: "the largest rank is \(largest), the configuration's r \(config.rank)")
      }
      let one = config.alpha / RankPlan.Scaling(isRSLoRA: config.useRSLoRA).divisor(config.rank, reference: config.rank)
      return Reading(
        scalings: adapter.modules.map { self == .oldVLLM ? one : config.scaling(of: $0.name, rank: $0.rank) })
    case .llamaCPP:
      if !hasHead, adapter.modules.contains(where: { $0.name == "lm_head" }) {
        return Reading(refusal: "the head is the embedding, of which it takes no adapter")
      }
      return Reading(scalings: adapter.modules.map { config.alpha == 0 ? 1 : config.alpha / Double($0.rank) })
    }
  }
}
