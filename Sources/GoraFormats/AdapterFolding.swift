/// AdaLoRA's factors as plain LoRA, which every reader knows: A' = diag(E)·A and B, of the components that are not left out.
extension Adapter {
  /// The same ΔW as plain LoRA, or the adapter itself where it is no AdaLoRA; a module without components is not in it.
  package var folded: Adapter {
    guard adaLoRA != nil else { return self }
    var adapter = self
    adapter.adaLoRA = nil
    adapter.useRSLoRA = false
    adapter.modules = modules.map(\.folded).filter { $0.rank > 0 }
    return adapter
  }
}

extension AdapterModule {
  fileprivate var folded: AdapterModule {
    guard let singularValues else { return self }
    let kept = (0..<rank).filter { singularValues[$0] != 0 }
    var newA: [Float] = []
    newA.reserveCapacity(kept.count * shape[1])
    for k in kept { newA.append(contentsOf: a[k * shape[1]..<(k + 1) * shape[1]].lazy.map { singularValues[k] * $0 }) }
    var newB: [Float] = []
    newB.reserveCapacity(shape[0] * kept.count)
    for row in 0..<shape[0] { for k in kept { newB.append(b[row * rank + k]) } }
    return AdapterModule(
      name: name, rank: kept.count, alpha: scaling * Double(kept.count), scaling: scaling, shape: shape, a: newA, b: newB)
  }
}
