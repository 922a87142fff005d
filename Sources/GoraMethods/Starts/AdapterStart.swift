import GoraCore

/// A way to start adapters: what A and B are before the first step of training, and whether the product that they make then is taken
/// from the weight. A new one is a file beside this and a line in `all`; names, options, help and records follow from it.
package protocol AdapterStart: Sendable {
  /// `--method` of gora-init, and what the adapter's record says.
  static var name: String { get }
  /// Options of gora-init that it understands.
  static var options: Set<StartOption> { get }
  /// Whether B·A is not 0 at the start and is not taken from the weight either: what the kind of adapter has besides makes it nothing.
  static var leavesProductToKind: Bool { get }
  init(_ settings: StartSettings)

  /// What it looks at.
  var needs: Set<StartEvidence> { get }
  /// Whether the product that the factors make at the start is taken from the weight, so that the model begins as it was:
  /// ΔW = s·(B·A − B₀·A₀).
  static var isResidual: Bool { get }
  /// Its settings as they are, for the adapter's record.
  var record: [(key: String, value: StartValue)] { get }

  /// The adapter of one module.
  /// - Throws: status 65 where what it looks at is not finite, too small for the rank, or a decomposition fails.
  func factors(for module: AdapterModuleInput, random: inout Random) throws(GoraError) -> AdapterFactors
}

extension AdapterStart {
  package static var options: Set<StartOption> { [] }
  package static var leavesProductToKind: Bool { false }
  package var record: [(key: String, value: StartValue)] { [] }
  /// Whether it looks at something that gora-grad has gathered.
  package var needsGradientFile: Bool { !needs.isDisjoint(with: [.gradient, .displacement, .inputs]) }

  /// The adapter of one module; its random numbers depend on the seed and the module's name alone.
  package func factors(for module: AdapterModuleInput, seed: UInt64) throws(GoraError) -> AdapterFactors {
    var random = Random(seed: seed, stream: "gora-init/\(module.name)")
    return try factors(for: module, random: &random)
  }
}

/// All starts, the default first.
package enum AdapterStarts {
  package static let all: [any AdapterStart.Type] = [
    GoRAStart.self,
    LoRAStart.self,
    PiSSAStart.self,
    MiLoRAStart.self,
    OLoRAStart.self,
    LoRAGAStart.self,
    LoRAOneStart.self,
    HeadStart.self,
    GoRASVDStart.self,
    EVAStart.self,
    AdaLoRAStart.self,
  ]

  package static func named(_ name: String) -> (any AdapterStart.Type)? { all.first { $0.name == name } }

  /// The starts that understand an option.
  package static func understanding(_ option: StartOption) -> [String] {
    all.filter { $0.options.contains(option) }.map { $0.name }
  }
}

/// What a start may look at of a module.
package enum StartEvidence: Sendable {
  case weight
  /// ‖W‖ alone.
  case weightNorm
  /// The mean gradient of gora-grad.
  case gradient
  /// Where a few steps along the gradients led the weight, gora-grad's.
  case displacement
  /// The principal components of the module's inputs, gora-grad's.
  case inputs
}

/// An option of gora-init that some starts understand; the raw value is its long name.
package enum StartOption: String, CaseIterable, Sendable {
  case a, gamma
  case exactNorm = "exact-norm"
  case stableGamma = "stable-gamma"
  case direction, scale, variant
}

/// The options as given; nil where a start's own default stands.
package struct StartSettings: Sendable {
  package var a: DownProjection?
  package var gamma: Double?
  package var exactNorm = false
  package var stableGamma: Double?
  package var direction: GradientDirections?
  package var scale: GradientScale?
  package var variant: LoRAGAStart.Variant?

  package init() {}
}

/// A setting's value in a record.
package enum StartValue: Sendable, Equatable {
  case text(String)
  case number(Double)
  case flag(Bool)
}

/// What a start may look at when it starts the adapter of one module; matrices [rows = out, columns = in], row-major.
package struct AdapterModuleInput: Sendable {
  package var name: String
  package var rows: Int
  package var columns: Int
  package var rank: Int
  /// s in ΔW = s·B·A.
  package var scaling: Double
  /// Present where the start needs `.weight`.
  package var weight: [Float]?
  /// ‖W‖, for the diagnostics.
  package var weightNorm: Double
  /// The mean gradient; present where the start needs `.gradient`.
  package var gradient: [Float]?
  /// Of the weight after some steps from what it was; present where the start needs `.displacement`.
  package var displacement: [Float]?
  /// The first components of the inputs [rank, columns]; present where the start needs `.inputs`.
  package var components: [Float]?

  package init(
    name: String, rows: Int, columns: Int, rank: Int, scaling: Double, weight: [Float]? = nil, weightNorm: Double = 0,
    gradient: [Float]? = nil
  ) {
    precondition(rank >= 1 && rank <= min(rows, columns) && scaling > 0)
    precondition((weight?.count ?? rows * columns) == rows * columns)
    precondition((gradient?.count ?? rows * columns) == rows * columns)
    self.name = name
    self.rows = rows
    self.columns = columns
    self.rank = rank
    self.scaling = scaling
    self.weight = weight
    self.weightNorm = weightNorm
    self.gradient = gradient
  }

  /// The first triplets of the gradient.
  /// - Throws: status 65 where the matrix has fewer.
  func gradientTriplets(_ count: Int, random: inout Random) throws(GoraError) -> SingularTriplets {
    guard count <= min(rows, columns) else {
      throw GoraError(
        .data, "rank \(rank) needs \(count) singular directions, the gradient [\(rows), \(columns)] has \(min(rows, columns))",
        hint: "plan a smaller --max-rank")
    }
    return try SingularTriplets(leading: count, of: gradient ?? [], rows: rows, columns: columns, random: &random)
  }
}
