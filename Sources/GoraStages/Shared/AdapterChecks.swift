import GoraCore
import GoraFormats
import GoraModels
import GoraTraining

extension Adapter {
  /// Refuses an adapter that was made for another base; one that does not say (PEFT's own) passes.
  func requireBase(_ identity: ModelIdentity?, folder: String) throws(GoraError) {
    guard let model, let difference = identity?.difference(from: model) else { return }
    throw GoraError(
      .data, at: .file(folder), "the adapter was made for \(difference)",
      hint: "give the --model it was made with")
  }

  /// Says where the base's weights are not held as they were when the adapter was made: results are then slightly off.
  func noteBase(of quantization: String?, _ events: EventHandler) {
    guard model != nil, baseQuantization != quantization else { return }
    events(
      .note(
        "the adapter was made beside weights \(baseQuantization.map { "in \($0)" } ?? "as they are"), here they are "
          + "\(quantization.map { "in \($0)" } ?? "as in the checkpoint"): results are slightly off"))
  }

  /// Refuses to train what no step would make sense of.
  func requireTrainable(under rule: any StepRule.Type, folder: String) throws(GoraError) {
    guard dropout < 1 else {
      throw GoraError(
        .data, at: .file(folder), "lora_dropout is 1, which leaves nothing to learn from", hint: "give --lora-dropout")
    }
    guard rule.trains(kind) else {
      let others = StepRules.all.filter { $0.trains(kind) }.map { $0.name }
      throw GoraError(
        .usage, at: .file(folder), "--rule \(rule.name) is not for \(kind.title), which this adapter is",
        hint: "--rule \(others.joined(separator: " or "))")
    }
    if let fault = layout.fault { throw GoraError(.data, at: .file(folder), fault.problem, hint: fault.hint) }
  }

  /// Hash of all factors and scalings, for telling runs apart.
  var fingerprint: String {
    let digest = SHA256()
    for module in modules {
      digest.update("\(module.name) \(module.rank) \(module.scaling) \(module.frozenRank)")
      module.a.withUnsafeBytes { digest.update($0) }
      module.b.withUnsafeBytes { digest.update($0) }
      module.vector?.withUnsafeBytes { digest.update($0) }
    }
    return digest.finish()
  }
}

extension Model {
  /// Puts every module of the adapter beside its linear, components that stay apart from those that learn.
  func attach(_ adapter: Adapter, from folder: String) throws(GoraError) {
    for module in adapter.modules {
      do throws(GoraError) {
        for (range, isFrozen) in [(module.trained, false), (module.frozen, true)] where !range.isEmpty {
          let part = module.components(range)
          try attach(
            module: module.name, rank: range.count, scaling: module.scaling, a: part.a, b: part.b,
            kind: adapter.kind, vector: isFrozen ? nil : module.vector, isFrozen: isFrozen)
        }
      } catch {
        var located = error
        located.location = .file(folder)
        throw located
      }
    }
    refreshAdapters()
  }
}
