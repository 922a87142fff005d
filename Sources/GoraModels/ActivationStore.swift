import CGoraKernels
import GoraCore

/// What a layer says of a buffer that its forward pass fills for backward. It is said once: allocation, packing into 16 bits,
/// recomputation and the estimate of memory follow from it.
struct ActivationBuffer {
  enum Role {
    /// What forward runs again from, in f32.
    case input
    /// Kept in f32: the residual stream, norms' factors, what adapters keep.
    case single
    /// Kept in bf16 where products round to it, as PyTorch keeps all activations of a model in bf16.
    case half
  }
  /// Floats a token.
  let width: Int
  let role: Role

  init(_ width: Int, _ role: Role) {
    self.width = width
    self.role = role
  }
}

/// A layer's buffers in the order in which it declares them.
final class ActivationSet {
  private var buffers: [FloatBuffer] = []

  subscript(_ index: Int) -> FloatBuffer { buffers[index] }

  /// Makes room; what buffers that are large enough hold stays.
  func reserve(_ declared: [ActivationBuffer], tokens: Int) {
    while buffers.count < declared.count { buffers.append(FloatBuffer()) }
    for (buffer, declared) in zip(buffers, declared) { buffer.reserve(tokens * declared.width) }
  }

  /// Rounds what is kept in 16 bits where it lies: recomputed activations are then those that come back from being kept.
  func round(_ declared: [ActivationBuffer], tokens: Int) {
    for (buffer, declared) in zip(buffers, declared) where declared.role == .half {
      let x = buffer.pointer
      parallelRanges(tokens * declared.width, grain: 65_536, alignment: 32) {
        gora_round_bf16(x + $0.lowerBound, x + $0.lowerBound, $0.count)
      }
    }
  }

  /// Floats that it has room for.
  var floats: Int { buffers.reduce(0) { $0 + $1.count } }
}

/// What the layers of a model keep from forward to backward, layer by layer from the lowest that learns.
final class ActivationStore {
  enum Keeping {
    /// Each layer has buffers of its own.
    case whole
    /// In bf16 runs: the large buffers in 16 bits, a little more than half the memory.
    case packed
    /// The input alone; forward runs again.
    case input

    /// The buffers that are copied as they are, and those that are copied in 16 bits.
    fileprivate func copied(_ role: ActivationBuffer.Role) -> (single: Bool, half: Bool) {
      switch self {
      case .whole: (false, false)
      case .packed: (role != .half, role == .half)
      case .input: (role == .input, false)
      }
    }
  }

  /// The buffers of the layer at work, where it has none of its own.
  private let shared = ActivationSet()
  private var own: [ActivationSet] = []
  private var copies: [ActivationCopy] = []

  /// The buffers in which a layer runs forward.
  /// - Parameter slot: layers from the lowest that learns; below 0 nothing is kept.
  func buffers(slot: Int, _ keeping: Keeping, _ declared: [ActivationBuffer], tokens: Int) -> ActivationSet {
    var set = shared
    if slot >= 0, keeping == .whole {
      while own.count <= slot { own.append(ActivationSet()) }
      set = own[slot]
    }
    set.reserve(declared, tokens: tokens)
    return set
  }

  /// Takes in what forward left in the layer's buffers.
  func keep(slot: Int, _ keeping: Keeping, _ declared: [ActivationBuffer], tokens: Int) {
    guard slot >= 0, keeping != .whole else { return }
    while copies.count <= slot { copies.append(ActivationCopy()) }
    copies[slot].store(shared, keeping, declared, tokens: tokens)
  }

  /// The buffers of a layer as `keep` found them, rounded where they were packed; after `.input` that alone.
  func recall(slot: Int, _ keeping: Keeping, _ declared: [ActivationBuffer], tokens: Int) -> ActivationSet {
    let set = buffers(slot: slot, keeping, declared, tokens: tokens)
    if keeping != .whole { copies[slot].load(into: set, keeping, declared, tokens: tokens) }
    return set
  }

  /// Floats that it holds.
  var floats: Int { shared.floats + own.reduce(0) { $0 + $1.floats } + copies.reduce(0) { $0 + $1.floats } }

  /// Floats that it comes to hold.
  /// - Parameters:
  ///   - layers: what each declares.
  ///   - lowest: the lowest layer that learns; one beyond the last where nothing does.
  static func floats(_ layers: [[ActivationBuffer]], lowest: Int, _ keeping: Keeping, tokens: Int) -> Int {
    let kept = layers[lowest...]
    // Each buffer of the shared set is as wide as its widest user.
    let sharers = keeping == .whole ? layers[..<lowest] : layers[...]
    let places = (sharers.map(\.count).max() ?? 0)
    var floats = tokens * (0..<places).reduce(0) { sum, place in sum + (sharers.map { $0[place].width }.max() ?? 0) }
    for declared in kept {
      if keeping == .whole {
        floats += tokens * declared.reduce(0) { $0 + $1.width }
      } else {
        let counts = ActivationCopy.counts(keeping, declared, tokens: tokens)
        floats += counts.single + counts.half
      }
    }
    return floats
  }
}

/// A copy of some of a layer's buffers, in f32 and in bf16.
private final class ActivationCopy {
  private let single = FloatBuffer()
  private let half = FloatBuffer()

  var floats: Int { single.count + half.count }

  /// Floats of each.
  static func counts(
    _ keeping: ActivationStore.Keeping, _ declared: [ActivationBuffer], tokens: Int
  ) -> (single: Int, half: Int) {
    var counts = (single: 0, half: 0)
    for buffer in declared {
      let copied = keeping.copied(buffer.role)
      if copied.single { counts.single += tokens * buffer.width }
      if copied.half { counts.half += tokens * buffer.width }
    }
    return (counts.single, (counts.half + 1) / 2)
  }

  func store(_ set: ActivationSet, _ keeping: ActivationStore.Keeping, _ declared: [ActivationBuffer], tokens: Int) {
    let counts = Self.counts(keeping, declared, tokens: tokens)
    var out = single.reserve(counts.single)
    var narrow = halfWords(counts.half)
    for (place, buffer) in declared.enumerated() {
      let (x, count) = (set[place].pointer, tokens * buffer.width)
      let copied = keeping.copied(buffer.role)
      if copied.single {
        out.update(from: x, count: count)
        out += count
      }
      if copied.half {
        let y = narrow
        parallelRanges(count, grain: 65_536, alignment: 32) { gora_f32_to_bf16(x + $0.lowerBound, y + $0.lowerBound, $0.count) }
        narrow += count
      }
    }
  }

  func load(into set: ActivationSet, _ keeping: ActivationStore.Keeping, _ declared: [ActivationBuffer], tokens: Int) {
    var from = single.pointer
    var narrow = halfWords(0)
    for (place, buffer) in declared.enumerated() {
      let (y, count) = (set[place].pointer, tokens * buffer.width)
      let copied = keeping.copied(buffer.role)
      if copied.single {
        y.update(from: from, count: count)
        from += count
      }
      if copied.half {
        let x = narrow
        parallelRanges(count, grain: 65_536, alignment: 32) { gora_bf16_to_f32(x + $0.lowerBound, y + $0.lowerBound, $0.count) }
        narrow += count
      }
    }
  }

  private func halfWords(_ floats: Int) -> UnsafeMutablePointer<UInt16> {
    UnsafeMutableRawPointer(half.reserve(floats)).assumingMemoryBound(to: UInt16.self)
  }
}
