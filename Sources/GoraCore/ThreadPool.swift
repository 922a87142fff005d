import CGoraKernels

/// The threads of a process: one pool, which owns all parallel work; libraries run single-threaded inside it.
package enum ThreadPool {
  /// Starts the pool; the first call decides, later ones only read.
  /// - Returns: how many threads run, fewer than asked for where the system refuses some.
  @discardableResult
  package static func start(threads: Int) -> Int { Int(gora_pool_start(Int32(clamping: threads))) }

  /// The number asked for, by which work is cut up, so that results do not depend on how many could be started.
  package static var threads: Int { Int(gora_pool_threads()) }

  /// The running thread's place in the pool, `0..<threads`: picks scratch memory, never a result.
  static var index: Int { Int(gora_thread_index()) }
}

/// Runs `body(0) … body(parts - 1)` on the pool and returns when all have run.
///
/// What a part does must depend on its number alone: which thread runs it is not decided.
package func parallelParts(_ parts: Int, _ body: (Int) -> Void) {
  if parts <= 1 {
    if parts == 1 { body(0) }
    return
  }
  withoutActuallyEscaping(body) { escaping in
    var task = escaping
    withUnsafeMutablePointer(to: &task) { pointer in
      gora_parallel(
        Int32(parts),
        { context, part in context!.assumingMemoryBound(to: ((Int) -> Void).self).pointee(Int(part)) }, pointer)
    }
  }
}

/// Splits `0..<count` into one contiguous range a thread (each at least `grain` long, cut at multiples of `alignment`).
package func parallelRanges(_ count: Int, grain: Int, alignment: Int = 1, _ body: (Range<Int>) -> Void) {
  let parts = max(1, min(ThreadPool.threads, count / max(1, grain)))
  if parts == 1 {
    if count > 0 { body(0..<count) }
    return
  }
  let step = (count + parts * alignment - 1) / (parts * alignment) * alignment
  parallelParts(parts) { part in
    let from = min(count, part * step)
    let to = min(count, from + step)
    if from < to { body(from..<to) }
  }
}

/// Splits `0..<count` for threads of unequal speed: a first round of large ranges, then two of ever smaller ones that whoever is
/// free takes, so that the threads finish together.
///
/// - Parameters:
///   - grain: ranges are multiples of it (but the last)
///   - rounds: 1 where the work is too small to be worth more than one range a thread
package func unevenRanges(_ count: Int, grain: Int, threads: Int, rounds: Int) -> [Range<Int>] {
  let shares = rounds > 1 ? [0.6, 0.25, 0.15] : [1.0]
  var ranges: [Range<Int>] = []
  var from = 0
  for share in shares {
    let size = max(grain, Int((Double(count) * share / Double(threads * grain)).rounded(.up)) * grain)
    for _ in 0..<threads where from < count {
      ranges.append(from..<min(count, from + size))
      from += size
    }
  }
  while from < count {
    ranges.append(from..<min(count, from + grain))
    from += grain
  }
  return ranges
}
