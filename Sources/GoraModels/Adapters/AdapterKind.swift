import GoraCore
import GoraFormats
import GoraMethods

/// What stands beside a frozen weight, and what it computes. A new kind is a file beside this and a line in `AdapterKinds`: its folder, options,
/// training, merging and records follow from it.
package protocol AdapterKind: AdapterLayout {
  /// Whether ΔW is 0 as it starts, whatever A and B are.
  static var startsAtZero: Bool { get }
  /// Whether what it does depends on the weight it stands beside: then no start may take something from that weight, and B·A alone is not ΔW.
  static var isRelativeToWeight: Bool { get }
  /// Whether a step rule of its own trains it, and no other.
  static var hasOwnRule: Bool { get }

  /// The vector besides A and B as it starts.
  /// - Parameter weight: W + s·B·A [out, in] of the start.
  static func start(
    rank: Int, columns: Int, weight: () throws(GoraError) -> [Float]
  ) throws(GoraError) -> [Float]?
  /// Puts what the vector computes beside A and B.
  static func attach(_ vector: [Float], to adapter: LowRankAdapter, module: String, weight: WeightMatrix)
  /// Makes V = W + s·B·A [out, in] the weight that the adapter stands for.
  static func merge(_ vector: [Float], into v: inout [Float], columns: Int)
}

extension AdapterKind {
  /// Whether a start makes such adapters begin as the base.
  package static func accepts(_ start: any AdapterStart.Type) -> Bool {
    startsAtZero == start.leavesProductToKind && !(isRelativeToWeight && start.isResidual)
  }

  package static var startsAtZero: Bool { false }
  package static var isRelativeToWeight: Bool { false }
  package static var hasOwnRule: Bool { false }
  package static func start(
    rank: Int, columns: Int, weight: () throws(GoraError) -> [Float]
  ) throws(GoraError) -> [Float]? { nil }
  package static func attach(_ vector: [Float], to adapter: LowRankAdapter, module: String, weight: WeightMatrix) {}
  package static func merge(_ vector: [Float], into v: inout [Float], columns: Int) {}
}

extension LoRAKind: AdapterKind {}

/// All kinds, the default first.
package enum AdapterKinds {
  package static let all: [any AdapterKind.Type] = [
    LoRAKind.self,
    DoRAKind.self,
    AdaLoRAKind.self,
  ]
}

extension Adapter {
  /// Reads any folder of PEFT or gora whose kind is known, in every profile; factors in F32, F16, BF16 or F64 become binary32.
  /// - Throws: as `init(readingFolder:kinds:)`.
  package init(readingFolder path: String) throws(GoraError) { try self.init(readingFolder: path, kinds: AdapterKinds.all) }

  package var kind: any AdapterKind.Type {
    guard let kind = type(of: layout) as? any AdapterKind.Type else { preconditionFailure("a layout that nothing computes") }
    return kind
  }
}
