import CGoraKernels

/// Matrix products, row-major, spread over the pool: OpenBLAS or oneDNN multiply, each part on one thread.
package enum Matmul {
  /// Which library multiplies, or why none can.
  package static func open() throws(GoraError) {
    if let failure = gora_libraries_open().pointee.failure {
      throw GoraError(
        .internal, "no matrix library: \(String(cString: failure))", hint: "apt-get install libopenblas-dev libdnnl-dev")
    }
  }

  /// Whether the CPU multiplies bf16 (and oneDNN is there to do it).
  package static var hasBFloat16: Bool { gora_libraries_open().pointee.bf16 }

  /// For `--version -v` and the first line of a run: library, its version, and what is missing.
  package static var backendDescription: String {
    let libraries = gora_libraries_open().pointee
    if let failure = libraries.failure { return "none (\(String(cString: failure)))" }
    let onednn = String(cString: libraries.onednn)
    // "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH NO_AFFINITY SkylakeX MAX_THREADS=64"
    let words = String(cString: libraries.openblas).split(separator: " ")
    let version = words.dropFirst().first.map(String.init) ?? "?"
    let core = words.first { !$0.contains("=") && !$0.contains("_") && $0 != "OpenBLAS" && $0 != version } ?? ""
    let blas = "OpenBLAS \(version) (\(core))"
    if onednn.isEmpty { return "\(blas); oneDNN not used: bf16 products run as f32" }
    return "oneDNN \(onednn), \(blas)\(libraries.bf16 ? "" : "; no bf16 unit: bf16 products run as f32")"
  }

  /// Threads pay from about this many multiplications on.
  private static let worthSplitting = 150_000

  /// C[m,n] = alpha·op(A)·op(B) + beta·C; the larger of m and n is split over the pool.
  package static func sgemm(
    transposeA: Bool = false, transposeB: Bool = false, m: Int, n: Int, k: Int, alpha: Float = 1,
    a: UnsafePointer<Float>, lda: Int, b: UnsafePointer<Float>, ldb: Int, beta: Float = 0,
    c: UnsafeMutablePointer<Float>, ldc: Int
  ) {
    if m == 0 || n == 0 { return }
    _ = gora_libraries_open()
    let pieces = m * n * k < worthSplitting ? 1 : ThreadPool.threads
    if n >= m {
      let step = ((n + pieces - 1) / pieces + 15) / 16 * 16
      parallelParts((n + step - 1) / step) { part in
        let from = part * step
        gora_sgemm(
          transposeA, transposeB, Int64(m), Int64(min(step, n - from)), Int64(k), alpha, a, Int64(lda),
          b + (transposeB ? from * ldb : from), Int64(ldb), beta, c + from, Int64(ldc))
      }
    } else {
      let step = ((m + pieces - 1) / pieces + 15) / 16 * 16
      parallelParts((m + step - 1) / step) { part in
        let from = part * step
        gora_sgemm(
          transposeA, transposeB, Int64(min(step, m - from)), Int64(n), Int64(k), alpha,
          a + (transposeA ? from : from * lda), Int64(lda), b, Int64(ldb), beta, c + from * ldc, Int64(ldc))
      }
    }
  }
}

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
  }
  package let storage: Storage
  package let rows: Int
  package let columns: Int
  /// Whether products round their other operand to bf16, as PyTorch does for a bf16 model.
  package let roundsInputs: Bool

  package init(_ storage: Storage, rows: Int, columns: Int, roundsInputs: Bool = false) {
    self.storage = storage
    self.rows = rows
    self.columns = columns
    self.roundsInputs = roundsInputs
  }

  /// Floats of rows `from..<to`, widened.
  package func widen(_ range: Range<Int>, into out: UnsafeMutablePointer<Float>) {
    let count = range.count * columns
    switch storage {
    case .f32(let p): out.update(from: p + range.lowerBound * columns, count: count)
    case .bf16(let p): gora_bf16_to_f32(p + range.lowerBound * columns, out, count)
    case .f16(let p): gora_f16_to_f32(p + range.lowerBound * columns, out, count)
    case .nf4(let weight):
      weight.decode(range.lowerBound * columns..<range.upperBound * columns, into: out)
      if roundsInputs { gora_round_bf16(out, out, count) }
    }
  }

  /// Rows widened at a time by one thread: about 1 MiB of floats.
  private var block: Int { max(16, min(rows, 262_144 / max(1, columns)) / 16 * 16) }

  /// y[T, rows] = x[T, columns]·Wᵀ + beta·y
  package func multiply(
    _ x: UnsafePointer<Float>, tokens: Int, into y: UnsafeMutablePointer<Float>, beta: Float = 0, scratch: MatmulScratch
  ) {
    if case .f32(let w) = storage {
      Matmul.sgemm(
        transposeB: true, m: tokens, n: rows, k: columns, a: x, lda: columns, b: w, ldb: columns, beta: beta, c: y,
        ldc: rows)
      return
    }
    let block = block
    let blocks = (rows + block - 1) / block
    if roundsInputs, Matmul.hasBFloat16, case .bf16(let w) = storage {
      let half = narrow(x, count: tokens * columns, scratch: scratch)
      var done = [Bool](repeating: false, count: blocks)
      done.withUnsafeMutableBufferPointer { done in
        nonisolated(unsafe) let done = done
        parallelParts(blocks) { part in
          let from = part * block
          done[part] = gora_bf16_gemm(
            true, Int64(tokens), Int64(min(block, rows - from)), Int64(columns), half, Int64(columns), w + from * columns,
            Int64(columns), beta, y + from, Int64(rows))
        }
      }
      // oneDNN refuses a shape before it writes anything; then the widened product does the work.
      if done.allSatisfy({ $0 }) { return }
    }
    let x = roundsInputs ? round(x, count: tokens * columns, scratch: scratch) : x
    // Each thread widens a block of rows into its own scratch and multiplies it while it is in cache.
    let threads = min(ThreadPool.threads, blocks)
    let wide = scratch.weights.reserve(threads * block * columns)
    parallelParts(threads) { part in
      let own = wide + part * block * columns
      for index in stride(from: part, to: blocks, by: threads) {
        let range = index * block..<min(rows, (index + 1) * block)
        widen(range, into: own)
        gora_sgemm(
          false, true, Int64(tokens), Int64(range.count), Int64(columns), 1, x, Int64(columns), own, Int64(columns), beta,
          y + range.lowerBound, Int64(rows))
      }
    }
  }

  /// dx[T, columns] = dy[T, rows]·W + beta·dx
  package func multiplyTransposed(
    _ dy: UnsafePointer<Float>, tokens: Int, into dx: UnsafeMutablePointer<Float>, beta: Float = 0,
    scratch: MatmulScratch
  ) {
    if case .f32(let w) = storage {
      Matmul.sgemm(
        m: tokens, n: columns, k: rows, a: dy, lda: rows, b: w, ldb: columns, beta: beta, c: dx, ldc: columns)
      return
    }
    let dy = roundsInputs ? round(dy, count: tokens * rows, scratch: scratch) : dy
    // All threads widen a block of rows together, then share its product by columns.
    let block = min(rows, max(16, 1_048_576 / max(1, columns)))
    let wide = scratch.weights.reserve(block * columns)
    for from in stride(from: 0, to: rows, by: block) {
      let count = min(block, rows - from)
      parallelRanges(count, grain: 16) { range in
        widen(from + range.lowerBound..<from + range.upperBound, into: wide + range.lowerBound * columns)
      }
      Matmul.sgemm(
        m: tokens, n: columns, k: count, a: dy + from, lda: rows, b: wide, ldb: columns, beta: from == 0 ? beta : 1,
        c: dx, ldc: columns)
    }
  }

  private func round(_ x: UnsafePointer<Float>, count: Int, scratch: MatmulScratch) -> UnsafePointer<Float> {
    let out = scratch.inputs.reserve(count)
    parallelRanges(count, grain: 65_536) { gora_round_bf16(x + $0.lowerBound, out + $0.lowerBound, $0.count) }
    return UnsafePointer(out)
  }

  private func narrow(_ x: UnsafePointer<Float>, count: Int, scratch: MatmulScratch) -> UnsafePointer<UInt16> {
    let out = UnsafeMutableRawPointer(scratch.inputs.reserve((count + 1) / 2)).assumingMemoryBound(to: UInt16.self)
    parallelRanges(count, grain: 65_536) { gora_f32_to_bf16(x + $0.lowerBound, out + $0.lowerBound, $0.count) }
    return UnsafePointer(out)
  }
}

extension Matmul {
  /// Operations a second of f32 products on all threads, measured for some 20 ms.
  package static func measuredRate() -> Double {
    let size = 512
    let a = FloatBuffer(zeros: size * size)
    let b = FloatBuffer(zeros: size * size)
    let c = FloatBuffer(capacity: size * size)
    var best = 0.0
    for _ in 0..<4 {
      let start = ContinuousClock.now
      sgemm(m: size, n: size, k: size, a: a.pointer, lda: size, b: b.pointer, ldb: size, c: c.pointer, ldc: size)
      let elapsed = start.duration(to: .now).components
      let seconds = Double(elapsed.seconds) + Double(elapsed.attoseconds) * 1e-18
      best = max(best, 2 * Double(size * size * size) / max(seconds, 1e-9))
    }
    withExtendedLifetime((a, b, c)) {}
    return best
  }
}
