import GoraCore
import GoraModels

/// Sums of floats over processes, each of which adds up a slice: a window of the floats at a time goes out, each process its slice of every
/// window.
final class SliceExchange {
  /// Floats that are under way at a time.
  private static let window = 1 << 22

  private let floats: Int
  private let outgoing: FloatBuffer
  private let incoming: [FloatBuffer]
  /// This process's slices of all windows.
  private let sums: FloatBuffer
  private let messages = ProcessGroup.Messages()

  init(floats: Int) {
    self.floats = floats
    let size = min(floats, Self.window)
    outgoing = FloatBuffer(capacity: size)
    incoming = (0..<ProcessGroup.size).map {
      FloatBuffer(capacity: $0 == ProcessGroup.rank ? 0 : Self.slice(0..<size, of: ProcessGroup.rank).count)
    }
    sums = FloatBuffer(capacity: Self.windows(floats).reduce(0) { $0 + Self.slice($1, of: ProcessGroup.rank).count })
  }

  /// Floats of all its buffers, about.
  static func bufferFloats(_ floats: Int) -> Int { floats / ProcessGroup.size + 2 * min(floats, window) }

  private static func windows(_ floats: Int) -> [Range<Int>] {
    stride(from: 0, to: floats, by: window).map { $0..<min(floats, $0 + window) }
  }

  /// The part of a window that a process sums.
  private static func slice(_ window: Range<Int>, of rank: Int) -> Range<Int> {
    let cut = { (rank: Int) in window.lowerBound + window.count * rank / ProcessGroup.size }
    return cut(rank)..<cut(rank + 1)
  }

  /// Adds the floats of the first `running` processes, in their order.
  /// - Parameters:
  ///   - isFirst: whether the sums begin with them.
  ///   - read: copies a range of this process's floats; asked where it is one of those.
  func add(running: Int, isFirst: Bool, read: (Range<Int>, UnsafeMutablePointer<Float>) -> Void) {
    var place = 0
    for window in Self.windows(floats) {
      let own = Self.slice(window, of: ProcessGroup.rank)
      if ProcessGroup.rank < running { read(window, outgoing.pointer) }
      for other in 0..<ProcessGroup.size where other != ProcessGroup.rank {
        if other < running { messages.receive(incoming[other].pointer, bytes: 4 * own.count, from: other) }
        if ProcessGroup.rank < running {
          let theirs = Self.slice(window, of: other)
          messages.send(outgoing.pointer + (theirs.lowerBound - window.lowerBound), bytes: 4 * theirs.count, to: other)
        }
      }
      messages.wait()
      for process in 0..<running {
        let floats =
          process == ProcessGroup.rank
          ? outgoing.pointer + (own.lowerBound - window.lowerBound) : incoming[process].pointer
        if isFirst, process == 0 {
          (sums.pointer + place).update(from: floats, count: own.count)
        } else {
          Elementwise.add(floats, to: sums.pointer + place, count: own.count)
        }
      }
      place += own.count
    }
  }

  /// Gives every process all sums.
  /// - Parameter write: takes a range of them.
  func spread(_ write: (UnsafePointer<Float>, Range<Int>) -> Void) {
    var place = 0
    for window in Self.windows(floats) {
      let own = Self.slice(window, of: ProcessGroup.rank)
      (outgoing.pointer + (own.lowerBound - window.lowerBound)).update(from: sums.pointer + place, count: own.count)
      for other in 0..<ProcessGroup.size where other != ProcessGroup.rank {
        let theirs = Self.slice(window, of: other)
        messages.send(sums.pointer + place, bytes: 4 * own.count, to: other)
        messages.receive(outgoing.pointer + (theirs.lowerBound - window.lowerBound), bytes: 4 * theirs.count, from: other)
      }
      messages.wait()
      write(outgoing.pointer, window)
      place += own.count
    }
  }
}
