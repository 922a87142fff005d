import CGoraKernels

/// Matrix products, row-major, spread over the pool: OpenBLAS, oneDNN or bf16_tiles.c multiply, each part on one thread.
package enum Matmul {
  /// Which library multiplies, or why none can.
  package static func open() throws(GoraError) {
    if let failure = gora_libraries_open().pointee.failure {
      throw GoraError(
        .unavailable, "no matrix library: \(String(cString: failure))", hint: "apt-get install libopenblas-dev libdnnl-dev")
    }
  }

  /// Whether the CPU multiplies bf16, by tiles or, where it is there, by oneDNN.
  package static var hasBFloat16: Bool { gora_libraries_open().pointee.bf16 }

  /// Whether it multiplies them by tiles, each part packing what it reads.
  package static var hasTiles: Bool { gora_libraries_open().pointee.tiles }

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
    let tiles = libraries.tiles ? "; bf16 products by tiles" : nil
    if onednn.isEmpty { return "\(blas); oneDNN not used" + (tiles ?? ": bf16 products run as f32") }
    return "oneDNN \(onednn), \(blas)" + (tiles ?? (libraries.bf16 ? "" : "; no bf16 unit: bf16 products run as f32"))
  }

  /// Threads pay from about this many multiplications on, ranges of unequal size from this many.
  static let worthSplitting = 150_000
  private static let worthBalancing = 8_000_000

  /// The ranges into which the larger side of a product is cut.
  /// - Parameters:
  ///   - balances: whether threads that are done early take over from others; nil: where it pays for a library's product
  ///   - grain: ranges are multiples of it (but the last)
  static func ranges(
    _ count: Int, multiplications: Int, balances: Bool? = nil, grain: Int = 16, threads: Int = ThreadPool.threads
  ) -> [Range<Int>] {
    if multiplications < worthSplitting || threads == 1 { return [0..<count] }
    return unevenRanges(
      count, grain: grain, threads: threads, rounds: balances ?? (multiplications >= worthBalancing) ? 3 : 1)
  }

  /// How a product is cut up for the threads.
  package enum Cut {
    /// Into as many ranges as keep the threads busy: the last bits depend on their number.
    case byThreads
    /// Into strips of one width: the same bits for any number of threads.
    case fixed
  }

  private static let strip = 256

  /// C[m,n] = alpha·op(A)·op(B) + beta·C; the larger of m and n is split over the pool.
  package static func sgemm(
    transposeA: Bool = false, transposeB: Bool = false, m: Int, n: Int, k: Int, alpha: Float = 1,
    a: UnsafePointer<Float>, lda: Int, b: UnsafePointer<Float>, ldb: Int, beta: Float = 0,
    c: UnsafeMutablePointer<Float>, ldc: Int, cut: Cut = .byThreads
  ) {
    if m == 0 || n == 0 { return }
    let count = max(m, n)
    let ranges =
      switch cut {
      case .byThreads: ranges(count, multiplications: m * n * k)
      case .fixed: stride(from: 0, to: count, by: strip).map { $0..<min(count, $0 + strip) }
      }
    parallelParts(ranges.count) { part in
      let range = ranges[part]
      let from = range.lowerBound
      if n >= m {
        gora_sgemm(
          transposeA, transposeB, Int64(m), Int64(range.count), Int64(k), alpha, a, Int64(lda),
          b + (transposeB ? from * ldb : from), Int64(ldb), beta, c + from, Int64(ldc))
      } else {
        gora_sgemm(
          transposeA, transposeB, Int64(range.count), Int64(n), Int64(k), alpha,
          a + (transposeA ? from : from * lda), Int64(lda), b, Int64(ldb), beta, c + from * ldc, Int64(ldc))
      }
    }
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
