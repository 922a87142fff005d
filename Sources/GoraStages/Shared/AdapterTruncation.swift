import GoraCore
import GoraFormats
import GoraMethods
import GoraModels

/// How many parameters of an adapter are to stay.
package enum ParameterBudget: Sendable, Equatable {
  case count(Int)
  /// Above 0, at most 1: of the parameters that it has.
  case share(Double)

  package func parameters(of all: Int) -> Int {
    switch self {
    case .count(let count): count
    // Of 12800 parameters 29 % are 3711.9999….
    case .share(let share): Int((share * Double(all) + 1e-6).rounded(.down))
    }
  }
}

/// An adapter of fewer components, the leading ones of each module's ΔW, and what that costs.
struct AdapterTruncation {
  private struct Module {
    var name: String
    var oldRank: Int
    var rank: Int
    /// ‖ΔW − ΔW'‖/‖ΔW‖; 0 where ΔW is 0.
    var error: Double
  }

  let adapter: Adapter
  private let modules: [Module]
  /// ‖ΔW − ΔW'‖/‖ΔW‖ over all modules together.
  let error: Double
  private let oldParameters: Int
  /// The smallest singular value that stays.
  private let threshold: Double

  /// - Parameters:
  ///   - maxRank: no module keeps more components
  ///   - budget: of what is left so, one threshold over all modules keeps as much as this allows
  ///   - keepsScaling: whether s stays as it was, so that training goes on from there; else it is 1
  /// - Throws: status 64 where the kind depends on the weight and where nothing would stay, 65 where ΔW is not finite or 0.
  init(
    of adapter: Adapter, maxRank: Int?, budget: ParameterBudget?, keepsScaling: Bool, folder: String, events: EventHandler
  ) throws(GoraError) {
    guard !adapter.kind.isRelativeToWeight else {
      throw GoraError(
        .usage, at: .file(folder),
        "the adapter is \(adapter.kind.title): fewer components would change the weight that its vectors are relative to",
        hint: "export it without --keep-parameters and --max-rank")
    }
    var spectra: [UpdateSVD] = []
    for (done, module) in adapter.modules.enumerated() {
      events(.progress(stage: "decomposing", done: done, total: adapter.modules.count, unit: "modules"))
      do throws(GoraError) {
        spectra.append(
          try UpdateSVD(
            a: module.a, b: module.b, scaling: module.scaling, rows: module.shape[0], columns: module.shape[1], rank: module.rank)
        )
      } catch {
        throw GoraError(.data, at: .file(folder), "module \"\(module.name)\": \(error.problem)")
      }
    }
    let all = sum(spectra.map(\.size))
    guard all > 0 else { throw GoraError(.data, at: .file(folder), "the adapter changes nothing: \u{394}W is 0 in every module") }
    let wanted = zip(adapter.modules, spectra).map { module, spectrum in
      SpectrumThreshold.Module(
        values: Array(spectrum.values.prefix(maxRank ?? .max)), cost: module.shape[0] + module.shape[1])
    }
    oldParameters = adapter.parameters
    let allowed = budget?.parameters(of: oldParameters) ?? .max
    let ranks = SpectrumThreshold.ranks(wanted, budget: allowed)
    guard ranks.contains(where: { $0 > 0 }) else {
      throw GoraError(
        .usage, "--keep-parameters allows \(allowed) parameters, too few for the largest singular value of the adapter")
    }

    var truncated = adapter
    truncated.modules = []
    var modules: [Module] = []
    for ((module, spectrum), rank) in zip(zip(adapter.modules, spectra), ranks) {
      let size = spectrum.size
      modules.append(
        Module(
          name: module.name, oldRank: module.rank, rank: rank, error: size > 0 ? spectrum.error(rank: rank) / size : 0))
      guard rank > 0 else { continue }
      // A factor below 0 has gone into the update's signs.
      let scaling = keepsScaling ? abs(module.scaling) : 1
      let factors = spectrum.factors(rank: rank, scaling: scaling)
      let divisor = RankPlan.Scaling(isRSLoRA: adapter.useRSLoRA).divisor(rank, reference: rank)
      truncated.modules.append(
        AdapterModule(
          name: module.name, rank: rank, alpha: scaling * divisor, scaling: scaling, shape: module.shape, a: factors.a,
          b: factors.b))
    }
    self.adapter = truncated
    self.modules = modules
    error = sum(zip(spectra, ranks).map { $0.error(rank: $1) }) / all
    threshold = zip(wanted, ranks).compactMap { $1 > 0 ? $0.values[$1 - 1] : nil }.min() ?? 0
  }

  /// The count, then a line a module.
  var details: [String] {
    let names = modules.map(\.name)
    let width = names.reduce(0) { max($0, $1.count) }
    let ranks = modules.map { "\($0.oldRank) -> \($0.rank)" }
    let rankWidth = ranks.reduce(4) { max($0, $1.count) }
    let count = "\(NumberText.grouped(adapter.parameters)) of \(NumberText.grouped(oldParameters)) parameters of the adapter stay"
    return [count, TableText.pad("", width) + "  " + TableText.left("rank", rankWidth) + "  relative error"]
      + modules.indices.map {
        TableText.pad(names[$0], width) + "  " + TableText.left(ranks[$0], rankWidth) + "  "
          + NumberText.significant(modules[$0].error)
      }
  }

  var json: JSON {
    .object([
      "old_parameters": JSON(oldParameters), "threshold": JSON(threshold), "error": JSON(error),
      "modules": JSON(
        modules.map {
          .object([
            "module": JSON($0.name), "old_rank": JSON($0.oldRank), "rank": JSON($0.rank), "error": JSON($0.error),
          ])
        }),
    ])
  }
}

/// The norm of parts with these norms.
private func sum(_ norms: [Double]) -> Double { norms.reduce(0) { $0 + $1 * $1 }.squareRoot() }
