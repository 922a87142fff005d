import GoraFormats
import GoraMethods
import GoraModels

/// AdamW of A and B in the eigenbasis of their gradients over the rank (`RankBasisAdam`), so that steps do not depend on the basis that the
/// rank happens to have; equal rates.
package enum SOAPRule: StepRule {
  package static let name = "soap"
  package static let standardRatio = 1.0
  package static let starts: Set<String> = [HeadStart.name]
  package static func trains(_ kind: any AdapterKind.Type) -> Bool { kind == LoRAKind.self }

  package static func stateFloats(_ adapters: [LowRankAdapter]) -> Int {
    adapters.reduce(0) { $0 + 2 * ($1.a.count + $1.b.count + RankBasisAdam.basisFloats(rank: $1.rank)) }
  }
  package static func scratchFloats(_ adapters: [LowRankAdapter]) -> Int { RankBasisAdam.scratchFloats(adapters) }

  package static func optimizer(_ adapters: [LowRankAdapter], _ settings: StepSettings) -> any Optimizer {
    RankBasisAdam(adapters, settings)
  }
}
