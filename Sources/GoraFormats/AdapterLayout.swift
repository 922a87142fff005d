import GoraCore

/// How a kind of adapter lies in a PEFT folder. What it computes is `AdapterKind`, which refines this; everything here but names is by default
/// as plain LoRA has it.
package protocol AdapterLayout: Sendable {
  /// `--adapter` of gora-init.
  static var name: String { get }
  /// As people write it.
  static var title: String { get }
  /// `peft_type` and `use_dora` of adapter_config.json.
  static var peftType: String { get }
  static var usesDoRA: Bool { get }
  /// What follows a module's path in the names of its tensors.
  static var suffixes: AdapterSuffixes { get }
  /// Shape of the vector besides A and B, for a weight [out, in]; nil where there is none.
  static func vectorShape(rank: Int, weight: [Int]) -> [Int]?
  /// The profiles in which it can be written.
  static var profiles: Set<AdapterProfile> { get }
  /// Whether it says ranks and scales in its own way, so that `rank_pattern`, `alpha_pattern` and `use_rslora` are not LoRA's.
  static var hasOwnRanks: Bool { get }

  /// Reads what adapter_config.json says of this kind alone.
  /// - Throws: `.data` with line and column.
  init(reading root: JSONField) throws(GoraError)
  /// As gora-init makes it.
  /// - Parameters:
  ///   - ranks: of all modules, above 0.
  ///   - place: of a module's rank in the plan, for errors.
  /// - Throws: `.data` where it does not begin with such ranks.
  init(ranks: [Int], place: (Int) throws(GoraError) -> JSONField) throws(GoraError)

  /// The rank of a module, where `hasOwnRanks`.
  func rank(of module: String) -> Int?
  /// s for `lora_alpha`, where `hasOwnRanks`.
  func scaling(alpha: Double) -> Double?
  /// What the configuration says of these modules instead of LoRA's numbers, where `hasOwnRanks`.
  func numbers(of modules: [AdapterModule]) -> AdapterNumbers?
  /// The module as plain LoRA of the same ΔW, where it is more than LoRA and there is one; its rank may be 0.
  func folded(_ module: AdapterModule) -> AdapterModule?
  /// Why it cannot be trained any more, and what to do.
  var fault: (problem: String, hint: String)? { get }
}

extension AdapterLayout {
  package static var peftType: String { "LORA" }
  package static var usesDoRA: Bool { false }
  package static var suffixes: AdapterSuffixes { AdapterSuffixes(a: ".lora_A.weight", b: ".lora_B.weight", vector: nil) }
  package static func vectorShape(rank: Int, weight: [Int]) -> [Int]? { nil }
  package static var profiles: Set<AdapterProfile> { Set(AdapterProfile.allCases) }
  /// Whether readers besides PEFT know it.
  package static var isReadElsewhere: Bool { profiles.contains(.padded) }
  package static var hasOwnRanks: Bool { false }
  package func rank(of module: String) -> Int? { nil }
  package func scaling(alpha: Double) -> Double? { nil }
  package func numbers(of modules: [AdapterModule]) -> AdapterNumbers? { nil }
  package func folded(_ module: AdapterModule) -> AdapterModule? { nil }
  package var fault: (problem: String, hint: String)? { nil }
}

/// Ends of tensor names: of A, of B, and of what stands besides.
package struct AdapterSuffixes: Sendable {
  package let a: String
  package let b: String
  package let vector: String?

  package init(a: String, b: String, vector: String?) { (self.a, self.b, self.vector) = (a, b, vector) }

  var all: [String] { [a, b] + (vector.map { [$0] } ?? []) }
}

/// `r`, `lora_alpha` and further members of an adapter_config.json.
package struct AdapterNumbers: Sendable {
  package let rank: Int
  package let alpha: Double
  package let members: [JSON.Member]

  package init(rank: Int, alpha: Double, members: [JSON.Member]) {
    (self.rank, self.alpha, self.members) = (rank, alpha, members)
  }
}

/// ΔW = s·B·A (Hu et al. 2021, arXiv 2106.09685).
package struct LoRAKind: AdapterLayout {
  package static let name = "lora"
  package static let title = "LoRA"

  package init() {}
  package init(reading root: JSONField) throws(GoraError) {}
  package init(ranks: [Int], place: (Int) throws(GoraError) -> JSONField) throws(GoraError) {}
}

extension Adapter {
  /// The same ΔW as plain LoRA, which every reader knows, where there is one; a module without components is not in it.
  package var folded: Adapter {
    let plain = modules.compactMap(layout.folded)
    guard !plain.isEmpty, plain.count == modules.count else { return self }
    var adapter = self
    adapter.layout = LoRAKind()
    adapter.useRSLoRA = false
    adapter.modules = plain.filter { $0.rank > 0 }
    return adapter
  }
}
