import CGoraKernels
import GoraCore
import Testing

@Suite struct ThreadPoolTests {
  init() { ThreadPool.start(threads: 2) }

  /// How often each of `count` indices is reached.
  static func tally(_ count: Int, _ run: (UnsafeMutablePointer<Int32>) -> Void) -> [Int32] {
    var counts = [Int32](repeating: 0, count: count)
    counts.withUnsafeMutableBufferPointer { counts in if let base = counts.baseAddress { run(base) } }
    return counts
  }

  @Test func everyPartRunsOnce() {
    for repetition in 0..<1500 {
      let parts = repetition % 37 + 1
      let counts = Self.tally(parts) { counts in parallelParts(parts) { counts[$0] += 1 } }
      #expect(counts.allSatisfy { $0 == 1 })
    }
    parallelParts(0) { _ in Issue.record("no part to run") }
  }

  /// More parts than the pool's 16 bits hold: each once, and still on all threads, before and after the 65,535th.
  @Test func manyParts() {
    let counts = Self.tally(140_000) { counts in parallelParts(140_000) { counts[$0] += 1 } }
    #expect(counts.allSatisfy { $0 == 1 })
    // A thread may come late: until both have been seen.
    for range in [0..<70_000, 70_000..<140_000] {
      let seen = (0..<200).contains { _ in
        let threads = Self.tally(140_000) { threads in parallelParts(140_000) { threads[$0] = gora_thread_index() } }
        return Set(threads[range]).count > 1
      }
      #expect(seen)
    }
  }

  /// A call from inside a part runs in that part, to its end.
  @Test func nested() {
    for _ in 0..<100 {
      let counts = Self.tally(9 * 11) { counts in
        parallelParts(9) { outer in
          parallelParts(11) { counts[outer * 11 + $0] += 1 }
        }
      }
      #expect(counts.allSatisfy { $0 == 1 })
    }
  }

  @Test(arguments: [0, 1, 2, 15, 16, 17, 63, 64, 65, 1000]) func ranges(_ count: Int) {
    for (grain, alignment) in [(1, 1), (1, 16), (16, 16), (64, 1), (0, 1), (5000, 1)] {
      let counts = Self.tally(count) { counts in
        parallelRanges(count, grain: grain, alignment: alignment) { range in
          #expect(!range.isEmpty)
          #expect(range.lowerBound % alignment == 0)
          for i in range { counts[i] += 1 }
        }
      }
      #expect(counts.allSatisfy { $0 == 1 })
    }
  }

  /// Every index once, in order, in multiples of the grain but for the end; later ranges are no larger.
  @Test(arguments: [0, 1, 15, 16, 17, 288, 768, 1000, 32_000]) func unevenRangesCover(_ count: Int) {
    for (threads, rounds) in [(1, 1), (2, 1), (2, 3), (7, 3), (64, 3)] {
      let ranges = unevenRanges(count, grain: 16, threads: threads, rounds: rounds)
      #expect(ranges.flatMap(Array.init) == Array(0..<count))
      #expect(ranges.allSatisfy { $0.lowerBound % 16 == 0 && !$0.isEmpty })
      #expect(zip(ranges, ranges.dropFirst()).allSatisfy { $0.count >= $1.count })
      if rounds == 1 { #expect(ranges.count <= threads) }
    }
  }

  /// Each thread of the pool knows itself by a number of its own, the caller by 0.
  @Test func threadIndex() {
    #expect(gora_thread_index() == 0)
    let seen = Self.tally(64) { counts in parallelParts(64) { counts[$0] = gora_thread_index() } }
    #expect(seen.allSatisfy { 0..<gora_pool_threads() ~= $0 })
  }

  /// Several callers at a time: each sees its own work done when its call returns.
  @Test func concurrentCallers() async {
    await withTaskGroup(of: Bool.self) { group in
      for caller in 0..<4 {
        group.addTask {
          (0..<200).allSatisfy { repetition in
            let parts = 2 + (repetition + caller) % 7
            return Self.tally(parts) { counts in parallelParts(parts) { counts[$0] += 1 } }.allSatisfy { $0 == 1 }
          }
        }
      }
      for await isRight in group { #expect(isRight) }
    }
  }

  @Test func laterStartsOnlyRead() {
    let threads = ThreadPool.threads
    #expect(ThreadPool.start(threads: threads + 3) == threads)
    #expect(ThreadPool.threads == threads)
  }
}
