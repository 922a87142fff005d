import GoraCore
import GoraModels

/// Sums of floats over processes, each of which adds up a slice of every window. A window goes out as soon as its floats are there, and is
/// under way while those of the next two are made.
///
/// Windows use two sets of buffers in turn.
final class SliceExchange {
  private let windows: [Range<Int>]
  private let outgoing: [FloatBuffer]
  /// By set and process: its floats of the slice that is summed here.
  private let incoming: [[FloatBuffer]]
  /// This process's slices of all windows, one after the other.
  private let sums: FloatBuffer
  /// Where each window's are.
  private let places: [Int]
  private let messages = [ProcessGroup.Messages(), ProcessGroup.Messages()]
  /// The round at work: processes that have floats, the first ones, and whether the sums begin with theirs.
  private var round = (running: 0, isFirst: true)
  private var (begun, ended) = (0, 0)

  init(windows: [Range<Int>]) {
    self.windows = windows
    let sets = [0, 1].map { set in windows.indices.filter { $0 % 2 == set }.map { windows[$0] } }
    outgoing = sets.map { FloatBuffer(capacity: $0.map(\.count).max() ?? 0) }
    incoming = sets.map { set in
      let most = set.map { Self.slice($0, of: ProcessGroup.rank).count }.max() ?? 0
      return (0..<ProcessGroup.size).map { FloatBuffer(capacity: $0 == ProcessGroup.rank ? 0 : most) }
    }
    var (places, floats) = ([Int](), 0)
    for window in windows {
      places.append(floats)
      floats += Self.slice(window, of: ProcessGroup.rank).count
    }
    self.places = places
    sums = FloatBuffer(capacity: floats)
  }

  /// Floats of all its buffers, about.
  static func bufferFloats(_ windows: [Range<Int>]) -> Int {
    let sets = [0, 1].map { set in windows.indices.filter { $0 % 2 == set }.map { windows[$0].count }.max() ?? 0 }
    return (windows.last?.upperBound ?? 0) / ProcessGroup.size + 2 * (sets[0] + sets[1])
  }

  /// The part of a window that a process sums.
  private static func slice(_ window: Range<Int>, of rank: Int) -> Range<Int> {
    let cut = { (rank: Int) in window.lowerBound + window.count * rank / ProcessGroup.size }
    return cut(rank)..<cut(rank + 1)
  }

  /// Begins to add the floats of the first `running` processes, in their order.
  func begin(running: Int, isFirst: Bool) {
    round = (running, isFirst)
    (begun, ended) = (0, 0)
  }

  /// Sends the windows that are complete with the first `floats` of this process; waits for earlier ones where there are no buffers.
  /// - Parameter read: copies a range of them; asked where this process is one of those that run.
  func send(until floats: Int, read: (Range<Int>, UnsafeMutablePointer<Float>) -> Void) {
    while begun < windows.count, windows[begun].upperBound <= floats {
      if begun - ended == 2 { add() }
      let (window, set) = (windows[begun], begun % 2)
      let own = Self.slice(window, of: ProcessGroup.rank)
      let isRunning = ProcessGroup.rank < round.running
      if isRunning { read(window, outgoing[set].pointer) }
      for other in 0..<ProcessGroup.size where other != ProcessGroup.rank {
        if other < round.running { messages[set].receive(incoming[set][other].pointer, bytes: 4 * own.count, from: other) }
        if isRunning {
          let theirs = Self.slice(window, of: other)
          messages[set].send(
            outgoing[set].pointer + (theirs.lowerBound - window.lowerBound), bytes: 4 * theirs.count, to: other)
        }
      }
      begun += 1
    }
  }

  /// Waits for all windows that were sent.
  func end() { while ended < begun { add() } }

  /// Waits for the earliest window under way, and adds it to the sums.
  private func add() {
    let (window, set) = (windows[ended], ended % 2)
    messages[set].wait()
    let own = Self.slice(window, of: ProcessGroup.rank)
    let sum = sums.pointer + places[ended]
    for process in 0..<round.running {
      let floats =
        process == ProcessGroup.rank
        ? outgoing[set].pointer + (own.lowerBound - window.lowerBound) : incoming[set][process].pointer
      if round.isFirst, process == 0 {
        sum.update(from: floats, count: own.count)
      } else {
        Elementwise.add(floats, to: sum, count: own.count)
      }
    }
    ended += 1
  }

  /// Gives every process all sums.
  /// - Parameter write: takes a range of them.
  func spread(_ write: (UnsafePointer<Float>, Range<Int>) -> Void) {
    func end(_ index: Int) {
      let (window, set) = (windows[index], index % 2)
      let own = Self.slice(window, of: ProcessGroup.rank)
      messages[set].wait()
      (outgoing[set].pointer + (own.lowerBound - window.lowerBound)).update(from: sums.pointer + places[index], count: own.count)
      write(outgoing[set].pointer, window)
    }
    for (index, window) in windows.enumerated() {
      if index >= 2 { end(index - 2) }
      let set = index % 2
      let own = Self.slice(window, of: ProcessGroup.rank)
      for other in 0..<ProcessGroup.size where other != ProcessGroup.rank {
        let theirs = Self.slice(window, of: other)
        messages[set].receive(
          outgoing[set].pointer + (theirs.lowerBound - window.lowerBound), bytes: 4 * theirs.count, from: other)
        messages[set].send(sums.pointer + places[index], bytes: 4 * own.count, to: other)
      }
    }
    for index in windows.indices.suffix(2) { end(index) }
  }
}
