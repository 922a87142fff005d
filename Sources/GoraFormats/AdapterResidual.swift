/// Adapters that begin as the base itself, ΔW = s·(B·A − B₀·A₀), without touching the base: one plain LoRA of twice the rank,
/// A' = [A; A₀] and B' = [B, −B₀], of which the second half stays as it is in training (PEFT converts PiSSA and LoRA-GA so after
/// training; here every folder is of this form, and loads on the untouched base everywhere).
extension AdapterModule {
  /// The adapter that takes back what these factors do at the start. The factor s stays, and with it the rank's share of α.
  /// - Parameter useRSLoRA: the rule by which readers find s again from α and the doubled rank.
  package func residual(useRSLoRA: Bool) -> AdapterModule {
    var wide: [Float] = []
    wide.reserveCapacity(2 * b.count)
    for row in 0..<shape[0] {
      let line = b[row * rank..<(row + 1) * rank]
      wide.append(contentsOf: line)
      wide.append(contentsOf: line.map { -$0 })
    }
    var module = AdapterModule(
      name: name, rank: 2 * rank, alpha: alpha * RankPlan.Scaling(isRSLoRA: useRSLoRA).divisor(2, reference: 1), scaling: scaling,
      shape: shape,
      a: a + a,
      b: wide)
    module.frozenRank = rank
    return module
  }

  /// Components `range`: A [range, in] and B [out, range].
  package func components(_ range: Range<Int>) -> (a: [Float], b: [Float]) {
    if range == 0..<rank { return (a, b) }
    var part: [Float] = []
    part.reserveCapacity(shape[0] * range.count)
    for row in 0..<shape[0] { part.append(contentsOf: b[row * rank + range.lowerBound..<row * rank + range.upperBound]) }
    return (Array(a[range.lowerBound * shape[1]..<range.upperBound * shape[1]]), part)
  }

  /// Components that learn: the first ones.
  package var trained: Range<Int> { 0..<rank - frozenRank }
  /// Components that stay.
  package var frozen: Range<Int> { rank - frozenRank..<rank }

  /// Puts new values in the place of the components that learn.
  package mutating func replaceTrained(a newA: [Float], b newB: [Float]) {
    let count = trained.count
    precondition(newA.count == count * shape[1] && newB.count == shape[0] * count, "factors of another size")
    a.replaceSubrange(0..<newA.count, with: newA)
    for row in 0..<shape[0] { b.replaceSubrange(row * rank..<row * rank + count, with: newB[row * count..<(row + 1) * count]) }
  }
}

extension Adapter {
  /// The same ΔW with each module's s as it was trained, where B has it multiplied in: training that goes on takes the same steps so.
  package var unfolded: Adapter {
    var adapter = self
    for i in adapter.modules.indices {
      guard let native = adapter.modules[i].nativeScaling else { continue }
      let factor = adapter.modules[i].scaling / native
      for j in adapter.modules[i].b.indices { adapter.modules[i].b[j] = Float(Double(adapter.modules[i].b[j]) * factor) }
      adapter.modules[i].scaling = native
    }
    return adapter
  }
}
