import GoraCore

/// A random or made of singular vectors, B = 0 (LoRA, Hu et al. 2021, arXiv 2106.09685).
package struct LoRAStart: AdapterStart {
  package static let name = "lora"
  package static let options: Set<StartOption> = [.a]
  package static let isResidual = false

  private let a: DownProjection

  package init(_ settings: StartSettings) { self.init(a: settings.a ?? .kaiming) }
  package init(a: DownProjection) { self.a = a }

  package var needs: Set<StartEvidence> { a.needs }
  package var record: [(key: String, value: StartValue)] { [("a", .text(a.rawValue))] }

  package func factors(for module: AdapterModuleInput, random: inout Random) throws(GoraError) -> AdapterFactors {
    AdapterFactors(
      a: try a.matrix(for: module, random: &random), b: [Float](repeating: 0, count: module.rows * module.rank))
  }
}
