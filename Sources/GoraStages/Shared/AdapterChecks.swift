import GoraCore
import GoraFormats
import GoraModels
import GoraTraining

extension Adapter {
  /// Refuses an adapter that was made for another base; one that does not say (PEFT's own) passes.
  func requireBase(_ identity: String?, folder: String) throws(GoraError) {
    guard let model, let identity, model != identity else { return }
    throw GoraError(
      .data, at: .file(folder), "the adapter was made for model \(model.prefix(12))…, this one is \(identity.prefix(12))…",
      hint: "give the --model it was made with")
  }

  /// Hash of all factors and scalings, for telling runs apart.
  var fingerprint: String {
    let digest = SHA256()
    for module in modules {
      digest.update("\(module.name) \(module.rank) \(module.scaling) \(module.frozenRank)")
      module.a.withUnsafeBytes { digest.update($0) }
      module.b.withUnsafeBytes { digest.update($0) }
    }
    return digest.finish()
  }
}

extension Llama {
  /// Puts every module of the adapter beside its linear, components that stay apart from those that learn.
  func attach(_ adapter: Adapter, from folder: String) throws(GoraError) {
    for module in adapter.modules {
      do throws(GoraError) {
        for (range, isFrozen) in [(module.trained, false), (module.frozen, true)] where !range.isEmpty {
          let part = module.components(range)
          try attach(
            module: module.name, rank: range.count, scaling: module.scaling, a: part.a, b: part.b, isFrozen: isFrozen)
        }
      } catch {
        var located = error
        located.location = .file(folder)
        throw located
      }
    }
  }
}
