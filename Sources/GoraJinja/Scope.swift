/// A stretch of a template whose `set` names are its own, while it is parsed.
///
/// Jinja decides by a whole scope whether a name is its own, so names are bound when the scope ends.
final class Scope {
  let parent: Scope?
  /// Macros around it: each has a frame of its own.
  let level: Int
  let counter: SlotCounter
  /// Slots of its own names.
  private(set) var own: [(name: String, slot: Int, isParameter: Bool)] = []
  fileprivate var pending: [(name: String, reference: Reference, level: Int)] = []

  /// - Parameter isMacro: whether it has a frame of its own.
  init(in parent: Scope?, isMacro: Bool = false) {
    self.parent = parent
    level = (parent?.level ?? 0) + (isMacro ? 1 : 0)
    counter = parent == nil || isMacro ? SlotCounter() : parent!.counter
  }

  func slot(of name: String) -> Int? { own.first { $0.name == name }?.slot }

  func declare(_ name: String, isParameter: Bool) -> Int {
    if let place = own.firstIndex(where: { $0.name == name }) { return own[place].slot }
    let slot = counter.next()
    own.append((name, slot, isParameter))
    return slot
  }

  func isAwaiting(_ name: String) -> Bool { pending.contains { $0.name == name } }
}

final class SlotCounter {
  private(set) var count = 0
  func next() -> Int {
    count += 1
    return count - 1
  }
}

/// The bindings of a template's names, filled in scope by scope.
struct Bindings {
  private(set) var table: [Binding] = []
  /// Names of the outermost frame, with their slots: they begin as what the caller gives, or as a function of that name.
  private(set) var globals: [(name: String, slot: Int)] = []

  private mutating func new() -> Reference {
    table.append(Binding(hops: 0, slot: 0))
    return table.count - 1
  }

  mutating func use(_ name: String, in scope: Scope) -> Reference {
    let reference = new()
    scope.pending.append((name, reference, scope.level))
    return reference
  }

  /// Binds what `scope` sets and hands the other names outward; the copies with which the scope begins.
  mutating func close(_ scope: Scope) -> [(slot: Int, outer: Reference)] {
    guard let parent = scope.parent else {
      for use in scope.pending { bind(use, to: scope.declare(use.name, isParameter: false), of: scope) }
      globals = scope.own.map { ($0.name, $0.slot) }
      return []
    }
    for use in scope.pending {
      if let slot = scope.slot(of: use.name) { bind(use, to: slot, of: scope) } else { parent.pending.append(use) }
    }
    var copies: [(slot: Int, outer: Reference)] = []
    for name in scope.own where !name.isParameter {
      let outer = new()
      parent.pending.append((name.name, outer, scope.level))
      copies.append((name.slot, outer))
    }
    return copies
  }

  private mutating func bind(_ use: (name: String, reference: Reference, level: Int), to slot: Int, of scope: Scope) {
    table[use.reference] = Binding(hops: use.level - scope.level, slot: slot)
  }
}
