import CGoraKernels

/// Products with few tokens, as in generation: reading the weight is what takes the time, and gora's own loops multiply it where it lies.
extension WeightMatrix {
  /// The CPU's own bf16 products.
  private static let unit = gora_few_bf16_unit()
  private static let readsFloat16 = gora_few_tokens_reads(GORA_F16)
  /// Up to here, and up to half of it where a library multiplies bf16 faster from there on.
  private static let fewTokens = 16

  /// Whether the loops here multiply so many tokens.
  func isForFew(_ tokens: Int) -> Bool {
    guard isMultipliedInBFloat16 else { return tokens <= Self.fewTokens }
    return tokens <= max(Self.fewTokens / 2, Int(Self.unit.rawValue))
  }

  /// y[T, rows] = x[T, columns]·Wᵀ of weights that see the same x: it is rounded to bf16 once for all of them, and where tokens are few,
  /// the threads meet once.
  package static func multiply(
    _ x: UnsafePointer<Float>, tokens: Int, by products: [(weight: WeightMatrix, y: UnsafeMutablePointer<Float>)],
    scratch: MatmulScratch
  ) {
    guard let first = products.first?.weight else { return }
    if first.isForFew(tokens), products.dropFirst().allSatisfy({ $0.weight.isReadLike(first) }) {
      return multiplyFew(x, tokens: tokens, by: products, accumulates: false, scratch: scratch)
    }
    let count = tokens * first.columns
    if !first.isForFew(tokens), products.allSatisfy({ $0.weight.roundsLike(first) }) {
      if first.isMultipliedInBFloat16 {
        let half = first.narrow(x, count: count, scratch: scratch)
        for (weight, y) in products { weight.multiply(narrowed: half, tokens: tokens, into: y, scratch: scratch) }
      } else {
        let rounded = first.round(x, count: count, scratch: scratch)
        for (weight, y) in products { weight.multiply(rounded: rounded, tokens: tokens, into: y, scratch: scratch) }
      }
      return
    }
    for (weight, y) in products { weight.multiply(x, tokens: tokens, into: y, scratch: scratch) }
  }

  /// Whether products with many tokens round the same x, to the same form.
  private func roundsLike(_ other: WeightMatrix) -> Bool {
    if case .f32 = storage { return false }
    return roundsInputs && columns == other.columns && isMultipliedInBFloat16 == other.isMultipliedInBFloat16
  }

  /// Whether products with few tokens take x in the same form.
  private func isReadLike(_ other: WeightMatrix) -> Bool {
    guard columns == other.columns, roundsInputs == other.roundsInputs else { return false }
    return switch (storage, other.storage) {
    case (.f32, .f32), (.bf16, .bf16), (.f16, .f16), (.nf4, .nf4), (.blocks, .blocks): true
    default: false
    }
  }

  /// x as products with few tokens take it.
  private enum Operand {
    case floats(UnsafePointer<Float>)
    /// One token in bf16, for blocks by the CPU's own bf16 products.
    case half(UnsafePointer<UInt16>)
    /// For the CPU's own bf16 products.
    case packed(UnsafePointer<UInt16>)
  }

  private func operand(_ x: UnsafePointer<Float>, tokens: Int, _ scratch: MatmulScratch) -> Operand {
    guard roundsInputs else { return .floats(x) }
    switch storage {
    case .blocks where tokens == 1 && Self.unit != GORA_BF16_NONE: return .half(narrow(x, count: columns, scratch: scratch))
    case .bf16 where tokens <= Self.unit.rawValue, .nf4 where tokens <= Self.unit.rawValue,
      .blocks where tokens <= Self.unit.rawValue:
      let packed = UnsafeMutableRawPointer(scratch.inputs.reserve((columns + 31) / 32 * 16 * tokens))
        .assumingMemoryBound(to: UInt16.self)
      gora_few_bf16_operand(Self.unit, x, tokens, columns, packed)
      return .packed(packed)
    default: return .floats(round(x, count: tokens * columns, scratch: scratch))
    }
  }

  /// Elements that are widened at a time, and from which on threads that are done early take over from others.
  private static let (widenedElements, worthBalancing) = (65_536, 1_000_000)

  /// - Parameter products: weights that are read alike.
  static func multiplyFew(
    _ x: UnsafePointer<Float>, tokens: Int, by products: [(weight: WeightMatrix, y: UnsafeMutablePointer<Float>)],
    accumulates: Bool, scratch: MatmulScratch
  ) {
    guard let first = products.first?.weight else { return }
    let (columns, threads) = (first.columns, ThreadPool.threads)
    let operand = first.operand(x, tokens: tokens, scratch)
    // Rows that are widened at a time.
    let block = min(max(16, widenedElements / columns), products.lazy.map(\.weight.rows).max() ?? 0)
    // Bytes of a thread.
    let room = first.widenedBytes(operand, tokens: tokens) * block * columns
    let widened = UnsafeMutableRawPointer(scratch.weights.reserve((threads * room + 3) / 4))
    let rows = products.reduce(0) { $0 + $1.weight.rows }
    let ranges = Matmul.ranges(rows, multiplications: rows * columns, balances: rows * columns >= worthBalancing)
    parallelParts(ranges.count) { part in
      let own = widened + ThreadPool.index * room
      var start = 0
      for (weight, y) in products {
        let mine = ranges[part].clamped(to: start..<start + weight.rows)
        if !mine.isEmpty {
          weight.multiply(
            rows: mine.lowerBound - start..<mine.upperBound - start, operand, tokens: tokens, into: y, accumulates: accumulates,
            block: block, widened: own)
        }
        start += weight.rows
      }
    }
  }

  /// Bytes of an element that is widened, or decoded to bf16, before it is multiplied; 0: it is multiplied where it lies.
  private func widenedBytes(_ operand: Operand, tokens: Int) -> Int {
    switch (storage, operand) {
    case (.f32, _), (.bf16, _), (.blocks, .half): 0
    case (.f16, _) where Self.readsFloat16, (.blocks, .floats) where tokens == 1: 0
    case (.nf4, _) where roundsInputs, (.blocks, _) where roundsInputs: 2
    default: 4
    }
  }

  /// Some rows: weights in 32 and 16 bits as they are read, and blocks for one token; others a few at a time after they are widened, or
  /// decoded to bf16.
  private func multiply(
    rows range: Range<Int>, _ operand: Operand, tokens: Int, into y: UnsafeMutablePointer<Float>, accumulates: Bool, block: Int,
    widened: UnsafeMutableRawPointer
  ) {
    func floats(_ w: UnsafeRawPointer, _ type: gora_element_type, _ x: UnsafePointer<Float>, _ part: Range<Int>) {
      gora_few_tokens(w, type, x, y + part.lowerBound, part.count, columns, tokens, rows, accumulates)
    }
    func halves(_ w: UnsafePointer<UInt16>, _ x: UnsafePointer<UInt16>, _ part: Range<Int>) {
      gora_few_bf16(Self.unit, w, x, y + part.lowerBound, part.count, columns, tokens, rows, accumulates)
    }
    switch (storage, operand) {
    case (.f32(let w), .floats(let x)): return floats(w + range.lowerBound * columns, GORA_F32, x, range)
    case (.bf16(let w), .floats(let x)): return floats(w + range.lowerBound * columns, GORA_BF16, x, range)
    case (.f16(let w), .floats(let x)) where Self.readsFloat16: return floats(w + range.lowerBound * columns, GORA_F16, x, range)
    case (.bf16(let w), .packed(let x)): return halves(w + range.lowerBound * columns, x, range)
    case (.blocks(let w), .half(let x)): return w.multiply(stored: range, x, into: y, accumulates: accumulates)
    case (.blocks(let w), .floats(let x)) where tokens == 1:
      return w.multiply(stored: range, rounds: roundsInputs, x, into: y, accumulates: accumulates)
    default: break
    }
    let (decoded, wide) = (widened.assumingMemoryBound(to: UInt16.self), widened.assumingMemoryBound(to: Float.self))
    for from in stride(from: range.lowerBound, to: range.upperBound, by: block) {
      let part = from..<min(from + block, range.upperBound)
      let elements = part.lowerBound * columns..<part.upperBound * columns
      switch (storage, operand) {
      case (.blocks, .packed(let x)), (.nf4, .packed(let x)):
        decode(elements, into: decoded)
        halves(decoded, x, part)
      case (.blocks, .floats(let x)) where roundsInputs, (.nf4, .floats(let x)) where roundsInputs:
        decode(elements, into: decoded)
        floats(decoded, GORA_BF16, x, part)
      case (_, .floats(let x)):
        widen(part, into: wide)
        floats(wide, GORA_F32, x, part)
      default: preconditionFailure("no operand of another weight's")
      }
    }
  }
}
