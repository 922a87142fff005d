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
struct ActivationSet {
  fileprivate let buffers: [FloatBuffer]

  subscript(_ index: Int) -> FloatBuffer { buffers[index] }

  /// Rounds what is kept in 16 bits where it lies: recomputed activations are then those that come back from being kept.
  func round(_ declared: [ActivationBuffer], tokens: Int) {
    for (buffer, declared) in zip(buffers, declared) where declared.role == .half {
      Elementwise.round(buffer.pointer, count: tokens * declared.width)
    }
  }
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

    /// Whether a layer has its own buffer for that, in which forward and backward work; one is shared by all otherwise.
    fileprivate func isOwn(_ role: ActivationBuffer.Role) -> Bool {
      switch self {
      case .whole: true
      case .packed: role != .half
      case .input: role == .input
      }
    }
    /// Whether a shared buffer is kept in 16 bits.
    fileprivate func isPacked(_ role: ActivationBuffer.Role) -> Bool { self == .packed && role == .half }
  }

  /// Buffers by their place in a layer.
  private var shared: [FloatBuffer] = []
  /// By layer and place; those of shared buffers stay empty.
  private var own: [[FloatBuffer]] = []
  /// What a layer keeps in 16 bits.
  private var packed: [FloatBuffer] = []

  /// The buffers in which a layer runs forward.
  /// - Parameter slot: layers from the lowest that learns; below 0 nothing is kept.
  func buffers(slot: Int, _ keeping: Keeping, _ declared: [ActivationBuffer], tokens: Int) -> ActivationSet {
    while own.count <= slot {
      own.append([])
      packed.append(FloatBuffer())
    }
    func buffer(_ place: Int, of buffers: inout [FloatBuffer]) -> FloatBuffer {
      while buffers.count <= place { buffers.append(FloatBuffer()) }
      return buffers[place]
    }
    return ActivationSet(
      buffers: declared.enumerated().map { place, declared in
        let isOwn = slot >= 0 && keeping.isOwn(declared.role)
        let buffer = isOwn ? buffer(place, of: &own[slot]) : buffer(place, of: &shared)
        buffer.reserve(tokens * declared.width)
        return buffer
      })
  }

  /// Takes in what forward left in the layer's buffers.
  func keep(slot: Int, _ keeping: Keeping, _ declared: [ActivationBuffer], tokens: Int) {
    guard slot >= 0 else { return }
    forEachPacked(slot, keeping, declared, tokens) { x, half, count in gora_f32_to_bf16(x, half, count) }
  }

  /// The buffers of a layer as `keep` found them, rounded where they were packed; after `.input` that alone.
  func recall(slot: Int, _ keeping: Keeping, _ declared: [ActivationBuffer], tokens: Int) -> ActivationSet {
    let set = buffers(slot: slot, keeping, declared, tokens: tokens)
    forEachPacked(slot, keeping, declared, tokens) { x, half, count in gora_bf16_to_f32(half, x, count) }
    return set
  }

  /// Parts of the shared buffers that a layer keeps in 16 bits, and where: on the threads.
  private func forEachPacked(
    _ slot: Int, _ keeping: Keeping, _ declared: [ActivationBuffer], _ tokens: Int,
    _ body: (UnsafeMutablePointer<Float>, UnsafeMutablePointer<UInt16>, Int) -> Void
  ) {
    let floats = packed[slot].reserve(Self.packedFloats(keeping, declared, tokens: tokens))
    var half = UnsafeMutableRawPointer(floats).assumingMemoryBound(to: UInt16.self)
    for (place, buffer) in declared.enumerated() where keeping.isPacked(buffer.role) {
      let (x, y, count) = (shared[place].pointer, half, tokens * buffer.width)
      parallelRanges(count, grain: 65_536, alignment: 32) { body(x + $0.lowerBound, y + $0.lowerBound, $0.count) }
      half += count
    }
  }

  /// Floats that hold what a layer keeps in 16 bits.
  private static func packedFloats(_ keeping: Keeping, _ declared: [ActivationBuffer], tokens: Int) -> Int {
    (declared.reduce(0) { $0 + (keeping.isPacked($1.role) ? tokens * $1.width : 0) } + 1) / 2
  }

  /// Floats that it holds.
  var floats: Int { (shared + own.joined() + packed).reduce(0) { $0 + $1.count } }

  /// Floats that it comes to hold.
  /// - Parameters:
  ///   - layers: what each declares.
  ///   - lowest: the lowest layer that learns; one beyond the last where nothing does.
  static func floats(_ layers: [[ActivationBuffer]], lowest: Int, _ keeping: Keeping, tokens: Int) -> Int {
    // Each shared buffer is as wide as its widest user.
    var shared: [Int] = []
    var floats = 0
    for (index, declared) in layers.enumerated() {
      for (place, buffer) in declared.enumerated() {
        if place == shared.count { shared.append(0) }
        if index >= lowest, keeping.isOwn(buffer.role) {
          floats += tokens * buffer.width
        } else {
          shared[place] = max(shared[place], buffer.width)
        }
      }
      if index >= lowest { floats += packedFloats(keeping, declared, tokens: tokens) }
    }
    return floats + tokens * shared.reduce(0, +)
  }
}
