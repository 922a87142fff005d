import CGoraKernels

/// Scratch memory that a caller lends to products of 16-bit weights; one a model.
package final class MatmulScratch {
  let weights = FloatBuffer()
  let inputs = FloatBuffer()
  package init() {}
}

/// A matrix [rows, columns] where it lies, in its own element type: a checkpoint's weight [out, in].
package struct WeightMatrix: @unchecked Sendable {
  package enum Storage: @unchecked Sendable {
    case f32(UnsafePointer<Float>)
    case bf16(UnsafePointer<UInt16>)
    case f16(UnsafePointer<UInt16>)
    case nf4(NF4Weight)
    case blocks(BlockWeight)
  }
  package let storage: Storage
  package let rows: Int
  package let columns: Int
  /// Whether products round their other operand to bf16, as PyTorch does for a bf16 model.
  package let roundsInputs: Bool
  /// Quantised elements that are decoded at a time, 8 MiB in bf16; more beyond four threads. A library copies the other operand on every
  /// call, which pays from some hundred rows a thread on.
  var decodedElements = 16 * Self.block

  package init(_ storage: Storage, rows: Int, columns: Int, roundsInputs: Bool = false) {
    self.storage = storage
    self.rows = rows
    self.columns = columns
    self.roundsInputs = roundsInputs
  }

  /// Floats of rows `from..<to`, widened.
  package func widen(_ range: Range<Int>, into out: UnsafeMutablePointer<Float>) {
    widen(elements: range.lowerBound * columns..<range.upperBound * columns, into: out)
  }

  /// A slice of columns of some rows, widened: [rows.count, columns.count].
  private func widen(_ rows: Range<Int>, columns part: Range<Int>, into out: UnsafeMutablePointer<Float>) {
    if part.count == columns { return widen(rows, into: out) }
    for (i, row) in rows.enumerated() {
      let from = row * columns + part.lowerBound
      widen(elements: from..<from + part.count, into: out + i * part.count)
    }
  }

  /// Elements of the flattened weight.
  private func widen(elements range: Range<Int>, into out: UnsafeMutablePointer<Float>) {
    let (from, count) = (range.lowerBound, range.count)
    switch storage {
    case .f32(let p): out.update(from: p + from, count: count)
    case .bf16(let p): gora_bf16_to_f32(p + from, out, count)
    case .f16(let p): gora_f16_to_f32(p + from, out, count)
    case .nf4(let weight): weight.decode(range, rounds: roundsInputs, into: out)
    case .blocks(let weight): weight.decode(range, rounds: roundsInputs, into: out)
    }
  }

  /// Floats that one thread widens at a time, about 1 MiB: they stay in its cache until they are multiplied.
  private static let block = 262_144

  /// Small weights are widened whole, once, where there are more tokens to share out than rows or columns.
  private func isWidenedWhole(tokens: Int, side: Int) -> Bool { tokens > 2 * side && isSmall }
  private var isSmall: Bool { rows * columns <= 4 * Self.block }

  /// Floats of scratch that products take at most: none for f32.
  package func scratchCount(threads: Int) -> Int {
    if case .f32 = storage { return 0 }
    let blocks = threads * min(rows * columns, max(Self.block, 16 * columns))
    switch storage {
    case .nf4, .blocks: return max(blocks, rowsDecoded(threads: threads) * decodedStride)
    case .f32, .f16, .bf16: break
    }
    return isSmall ? max(blocks, rows * columns) : blocks
  }

  private func widenedWhole(_ scratch: MatmulScratch) -> UnsafePointer<Float> {
    let wide = scratch.weights.reserve(rows * columns)
    parallelRanges(rows, grain: max(1, 65_536 / columns)) { widen($0, into: wide + $0.lowerBound * columns) }
    return UnsafePointer(wide)
  }

  /// y[T, rows] = x[T, columns]·Wᵀ, or that added to y.
  package func multiply(
    _ x: UnsafePointer<Float>, tokens: Int, into y: UnsafeMutablePointer<Float>, accumulates: Bool = false, scratch: MatmulScratch
  ) {
    if isForFew(tokens) {
      return Self.multiplyFew(x, tokens: tokens, by: [(self, y)], accumulates: accumulates, scratch: scratch)
    }
    if case .f32(let w) = storage {
      Matmul.sgemm(
        transposeB: true, m: tokens, n: rows, k: columns, a: x, lda: columns, b: w, ldb: columns, beta: accumulates ? 1 : 0, c: y,
        ldc: rows)
      return
    }
    if isMultipliedInBFloat16 {
      let half = narrow(x, count: tokens * columns, scratch: scratch)
      return multiply(narrowed: half, tokens: tokens, into: y, accumulates: accumulates, scratch: scratch)
    }
    let x = roundsInputs ? round(x, count: tokens * columns, scratch: scratch) : x
    multiply(rounded: x, tokens: tokens, into: y, accumulates: accumulates, scratch: scratch)
  }

  /// The same of an x that is rounded where products round, with a 16-bit or quantised weight that the CPU does not multiply in bf16.
  func multiply(
    rounded x: UnsafePointer<Float>, tokens: Int, into y: UnsafeMutablePointer<Float>, accumulates: Bool = false,
    scratch: MatmulScratch
  ) {
    let ranges = Matmul.ranges(rows, multiplications: tokens * rows * columns)
    if case .blocks = storage {
      return inFloats(scratch) { part, w in
        Matmul.sgemm(
          transposeB: true, m: tokens, n: part.count, k: columns, a: x, lda: columns, b: w, ldb: columns,
          beta: accumulates ? 1 : 0, c: y + part.lowerBound, ldc: rows)
      }
    }
    if isWidenedWhole(tokens: tokens, side: rows) {
      Matmul.sgemm(
        transposeB: true, m: tokens, n: rows, k: columns, a: x, lda: columns, b: widenedWhole(scratch), ldb: columns,
        beta: accumulates ? 1 : 0, c: y, ldc: rows)
      return
    }
    let block = max(16, Self.block / columns / 16 * 16)
    let size = min(block, ranges.lazy.map(\.count).max() ?? 0) * columns
    let wide = scratch.weights.reserve(ThreadPool.threads * size)
    parallelParts(ranges.count) { part in
      let own = wide + ThreadPool.index * size
      for from in stride(from: ranges[part].lowerBound, to: ranges[part].upperBound, by: block) {
        let range = from..<min(from + block, ranges[part].upperBound)
        widen(range, into: own)
        gora_sgemm(
          false, true, Int64(tokens), Int64(range.count), Int64(columns), 1, x, Int64(columns), own, Int64(columns),
          accumulates ? 1 : 0, y + range.lowerBound, Int64(rows))
      }
    }
  }

  /// The same of an x in bf16, with a weight that the CPU multiplies in it.
  func multiply(
    narrowed x: UnsafePointer<UInt16>, tokens: Int, into y: UnsafeMutablePointer<Float>, accumulates: Bool = false,
    scratch: MatmulScratch
  ) {
    inBFloat16(scratch) { part, w, stride in
      let tiles = cut(part.count, rows: part, tokens: tokens)
      parallelParts(tiles.count) {
        let (some, range) = tiles[$0]
        gora_bf16_gemm(
          false, true, Int64(some.count), Int64(range.count), Int64(columns), x + some.lowerBound * columns, Int64(columns),
          w + range.lowerBound * stride, Int64(stride), accumulates,
          y + some.lowerBound * rows + part.lowerBound + range.lowerBound, Int64(rows))
      }
    }
  }

  /// dx[T, columns] = dy[T, rows]·W, or that added to dx.
  package func multiplyTransposed(
    _ dy: UnsafePointer<Float>, tokens: Int, into dx: UnsafeMutablePointer<Float>, accumulates: Bool = false,
    scratch: MatmulScratch
  ) {
    if case .f32(let w) = storage {
      Matmul.sgemm(
        m: tokens, n: columns, k: rows, a: dy, lda: rows, b: w, ldb: columns, beta: accumulates ? 1 : 0, c: dx, ldc: columns)
      return
    }
    if isMultipliedInBFloat16 {
      let half = narrow(dy, count: tokens * rows, scratch: scratch)
      return multiplyTransposed(
        narrowed: half, stride: rows, tokens: tokens, into: dx, accumulates: accumulates, scratch: scratch)
    }
    let dy = roundsInputs ? round(dy, count: tokens * rows, scratch: scratch) : dy
    multiplyTransposed(rounded: dy, tokens: tokens, into: dx, accumulates: accumulates, scratch: scratch)
  }

  /// Rounds a row of a dy that is not needed afterwards where it lies, as `multiplyTransposed(roundedInPlace:)` takes it: to floats, or, where
  /// the CPU multiplies bf16, to bf16 in the first half of the row.
  package func roundInPlace(row dy: UnsafeMutablePointer<Float>) {
    if case .f32 = storage { return }
    if isMultipliedInBFloat16 {
      gora_narrow_in_place(dy, rows)
    } else if roundsInputs {
      gora_round_bf16(dy, dy, rows)
    }
  }

  /// dx[T, columns] = dy[T, rows]·W of a dy whose rows `roundInPlace(row:)` has rounded.
  package func multiplyTransposed(
    roundedInPlace dy: UnsafePointer<Float>, tokens: Int, into dx: UnsafeMutablePointer<Float>, scratch: MatmulScratch
  ) {
    if case .f32 = storage { return multiplyTransposed(dy, tokens: tokens, into: dx, scratch: scratch) }
    if isMultipliedInBFloat16 {
      let half = UnsafeRawPointer(dy).assumingMemoryBound(to: UInt16.self)
      multiplyTransposed(narrowed: half, stride: 2 * rows, tokens: tokens, into: dx, accumulates: false, scratch: scratch)
    } else {
      multiplyTransposed(rounded: dy, tokens: tokens, into: dx, accumulates: false, scratch: scratch)
    }
  }

  /// - Parameter stride: of a dy in bf16, from row to row.
  private func multiplyTransposed(
    narrowed dy: UnsafePointer<UInt16>, stride: Int, tokens: Int, into dx: UnsafeMutablePointer<Float>, accumulates: Bool,
    scratch: MatmulScratch
  ) {
    inBFloat16(scratch) { part, w, weightStride in
      let tiles = cut(columns, rows: part, tokens: tokens)
      parallelParts(tiles.count) {
        let (some, range) = tiles[$0]
        for from in Swift.stride(from: 0, to: part.count, by: Self.longestSum) {
          let row = part.lowerBound + from
          gora_bf16_gemm(
            false, false, Int64(some.count), Int64(range.count), Int64(min(Self.longestSum, part.count - from)),
            dy + some.lowerBound * stride + row, Int64(stride), w + from * weightStride + range.lowerBound, Int64(weightStride),
            row > 0 || accumulates, dx + some.lowerBound * columns + range.lowerBound, Int64(columns))
        }
      }
    }
  }

  private func multiplyTransposed(
    rounded dy: UnsafePointer<Float>, tokens: Int, into dx: UnsafeMutablePointer<Float>, accumulates: Bool, scratch: MatmulScratch
  ) {
    let ranges = Matmul.ranges(columns, multiplications: tokens * rows * columns)
    if case .blocks = storage {
      return inFloats(scratch) { part, w in
        Matmul.sgemm(
          m: tokens, n: columns, k: part.count, a: dy + part.lowerBound, lda: rows, b: w, ldb: columns,
          beta: part.lowerBound > 0 || accumulates ? 1 : 0, c: dx, ldc: columns)
      }
    }
    if isWidenedWhole(tokens: tokens, side: columns) {
      Matmul.sgemm(
        m: tokens, n: columns, k: rows, a: dy, lda: rows, b: widenedWhole(scratch), ldb: columns, beta: accumulates ? 1 : 0,
        c: dx, ldc: columns)
      return
    }
    let width = ranges.lazy.map(\.count).max() ?? 0
    let block = max(16, min(rows, Self.block / width / 16 * 16))
    let wide = scratch.weights.reserve(ThreadPool.threads * block * width)
    parallelParts(ranges.count) { part in
      let own = wide + ThreadPool.index * block * width
      let range = ranges[part]
      for from in stride(from: 0, to: rows, by: block) {
        let count = min(block, rows - from)
        widen(from..<from + count, columns: range, into: own)
        gora_sgemm(
          false, false, Int64(tokens), Int64(range.count), Int64(count), 1, dy + from, Int64(rows), own, Int64(range.count),
          from > 0 || accumulates ? 1 : 0, dx + range.lowerBound, Int64(columns))
      }
    }
  }

  /// Products that one call sums up: over a whole vocabulary oneDNN is up to seven times as slow. A multiple of what tiles sum up at once.
  private static let longestSum = 4096

  /// dW[rows, columns] = dyᵀ·x, or that added to dW; where the CPU multiplies the weight in bf16 both are rounded to it.
  package func addGradient(
    _ dy: UnsafePointer<Float>, _ x: UnsafePointer<Float>, tokens: Int, to gradient: UnsafeMutablePointer<Float>,
    accumulates: Bool, scratch: MatmulScratch
  ) {
    if !isMultipliedInBFloat16 {
      Matmul.sgemm(
        transposeA: true, m: rows, n: columns, k: tokens, a: dy, lda: rows, b: x, ldb: columns, beta: accumulates ? 1 : 0,
        c: gradient, ldc: columns)
      return
    }
    let halves = halves(tokens * (rows + columns), in: scratch.inputs)
    let (left, right) = (halves, halves + tokens * rows)
    narrow(dy, count: tokens * rows, into: left)
    narrow(x, count: tokens * columns, into: right)
    let ranges = Matmul.ranges(rows, multiplications: tokens * rows * columns, balances: false, grain: Self.tileBlock)
    parallelParts(ranges.count) {
      let range = ranges[$0]
      gora_bf16_gemm(
        true, false, Int64(range.count), Int64(columns), Int64(tokens), left + range.lowerBound, Int64(rows), right,
        Int64(columns), accumulates, gradient + range.lowerBound * columns, Int64(columns))
    }
  }

  /// Whether the CPU itself multiplies the weight in bf16.
  var isMultipliedInBFloat16: Bool {
    guard roundsInputs, Matmul.hasBFloat16 else { return false }
    switch storage {
    case .bf16, .nf4, .blocks: return true
    case .f32, .f16: return false
    }
  }

  /// The weight in bf16: all rows where they lie, or quantised ones a part at a time, decoded before each call. Rows begin `stride` elements
  /// after one another.
  private func inBFloat16(_ scratch: MatmulScratch, _ body: (_ rows: Range<Int>, UnsafePointer<UInt16>, _ stride: Int) -> Void) {
    if case .bf16(let w) = storage { return body(0..<rows, w, columns) }
    let stride = decodedStride
    let tile = halves(rowsDecoded(threads: ThreadPool.threads) * stride, in: scratch.weights)
    inParts { part, from in
      // Rows that follow one another are decoded at once.
      let step = stride == columns ? part.count : 1
      for row in Swift.stride(from: part.lowerBound, to: part.upperBound, by: step) {
        decode((from + row) * columns..<(from + row + step) * columns, into: tile + row * stride)
      }
    } use: {
      body($0, UnsafePointer(tile), stride)
    }
  }

  /// Elements of the flattened weight, rounded to bf16.
  package func decode(_ elements: Range<Int>, into out: UnsafeMutablePointer<UInt16>) {
    switch storage {
    case .f32(let w): gora_f32_to_bf16(w + elements.lowerBound, out, elements.count)
    case .bf16(let w): out.update(from: w + elements.lowerBound, count: elements.count)
    case .f16(let w): gora_f16_to_bf16(w + elements.lowerBound, out, elements.count)
    case .nf4(let w): w.decode(elements, into: out)
    case .blocks(let w): w.decode(elements, into: out)
    }
  }

  /// The weight in floats a part at a time, widened before each call.
  private func inFloats(_ scratch: MatmulScratch, _ body: (_ rows: Range<Int>, UnsafePointer<Float>) -> Void) {
    let tile = scratch.weights.reserve(rowsDecoded(threads: ThreadPool.threads) * columns)
    inParts { part, from in
      widen(from + part.lowerBound..<from + part.upperBound, into: tile + part.lowerBound * columns)
    } use: {
      body($0, UnsafePointer(tile))
    }
  }

  /// Whole rows are decoded by all threads, then all threads multiply with them: what shares out columns would cut blocks.
  private func inParts(_ decode: (_ part: Range<Int>, _ from: Int) -> Void, use: (_ rows: Range<Int>) -> Void) {
    let most = rowsDecoded(threads: ThreadPool.threads)
    for from in stride(from: 0, to: rows, by: most) {
      let count = min(most, rows - from)
      parallelRanges(count, grain: max(1, 65_536 / columns)) { decode($0, from) }
      use(from..<from + count)
    }
  }

  /// Rows that are decoded at a time: the fewest parts of at most `decodedElements`.
  private func rowsDecoded(threads: Int) -> Int {
    let most = decodedElements * max(4, threads) / 4
    let parts = (rows * columns + most - 1) / most
    return min(rows, (rows + Self.tileBlock * parts - 1) / (Self.tileBlock * parts) * Self.tileBlock)
  }

  /// From one decoded row to the next in bf16: one cache line more than the row where that would fall onto the same lines of the cache.
  private var decodedStride: Int { columns % 512 == 0 ? columns + 32 : columns }

  /// How a product of `count` columns with a part of the rows is shared out.
  private func cut(_ count: Int, rows part: Range<Int>, tokens: Int) -> [(tokens: Range<Int>, columns: Range<Int>)] {
    Matmul.hasTiles ? cutForTiles(count, rows: part, tokens: tokens) : cutForLibrary(count, rows: part, tokens: tokens)
  }

  /// By tokens as far as they go, as whole rows of results are written twice as fast as parts of them, then by columns; only a long side
  /// of a whole weight for threads of unequal speed.
  private func cutForLibrary(_ count: Int, rows part: Range<Int>, tokens: Int) -> [(tokens: Range<Int>, columns: Range<Int>)] {
    var parts = 1
    while ThreadPool.threads % (2 * parts) == 0, tokens >= 2 * parts * Self.fewestRows { parts *= 2 }
    if parts == 1 {
      let balances = part.count == rows && count >= Self.worthBalancing * ThreadPool.threads
      return Matmul.ranges(count, multiplications: tokens * part.count * columns, balances: balances).map { (0..<tokens, $0) }
    }
    let height = (tokens + 16 * parts - 1) / (16 * parts) * 16
    let width = (count * parts + 16 * ThreadPool.threads - 1) / (16 * ThreadPool.threads) * 16
    return stride(from: 0, to: tokens, by: height).flatMap { token in
      stride(from: 0, to: count, by: width).map { (token..<min(tokens, token + height), $0..<min(count, $0 + width)) }
    }
  }
  /// Columns a thread from which on threads that are done early take over from others.
  private static let worthBalancing = 4096
  /// With fewer a call, the library's copy of the weight takes too much of its time.
  private static let fewestRows = 128

  /// By columns, as every part packs its own of the weight, and by tokens where the busiest thread then has a tenth less to do.
  private func cutForTiles(_ count: Int, rows part: Range<Int>, tokens: Int) -> [(tokens: Range<Int>, columns: Range<Int>)] {
    let multiplications = tokens * part.count * columns
    if multiplications < Matmul.worthSplitting { return [(0..<tokens, 0..<count)] }
    func blocks(_ size: Int, parts: Int) -> Int { (size + Self.tileBlock * parts - 1) / (Self.tileBlock * parts) }
    func most(_ parts: Int) -> Int { blocks(count, parts: ThreadPool.threads / parts) * blocks(tokens, parts: parts) }
    var (parts, next) = (1, 2)
    while ThreadPool.threads % next == 0 {
      if 10 * most(next) < 9 * most(parts) { parts = next }
      next *= 2
    }
    let threads = ThreadPool.threads / parts
    let ranges = Matmul.ranges(
      count, multiplications: multiplications, balances: count >= Self.worthBalancingTiles * threads, grain: Self.tileBlock,
      threads: threads)
    let height = blocks(tokens, parts: parts) * Self.tileBlock
    return stride(from: 0, to: tokens, by: height).flatMap { token in
      ranges.map { (token..<min(tokens, token + height), $0) }
    }
  }
  /// Tokens and columns that tiles sum up at once.
  private static let tileBlock = 32
  /// Columns a thread from which on threads that are done early take over from others.
  private static let worthBalancingTiles = 256

  /// Room for so many numbers in bf16.
  func halves(_ count: Int, in scratch: FloatBuffer) -> UnsafeMutablePointer<UInt16> {
    UnsafeMutableRawPointer(scratch.reserve((count + 1) / 2)).assumingMemoryBound(to: UInt16.self)
  }

  func round(_ x: UnsafePointer<Float>, count: Int, scratch: MatmulScratch) -> UnsafePointer<Float> {
    let out = scratch.inputs.reserve(count)
    parallelRanges(count, grain: 65_536) { gora_round_bf16(x + $0.lowerBound, out + $0.lowerBound, $0.count) }
    return UnsafePointer(out)
  }

  func narrow(_ x: UnsafePointer<Float>, count: Int, scratch: MatmulScratch) -> UnsafePointer<UInt16> {
    let out = halves(count, in: scratch.inputs)
    narrow(x, count: count, into: out)
    return UnsafePointer(out)
  }

  private func narrow(_ x: UnsafePointer<Float>, count: Int, into out: UnsafeMutablePointer<UInt16>) {
    parallelRanges(count, grain: 65_536) { gora_narrow(x + $0.lowerBound, out + $0.lowerBound, $0.count) }
  }
}
