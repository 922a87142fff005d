/// Counts what several processes do at the same time: each says a number a piece of its work, and the first process is told of them all as they
/// come.
package final class SharedCount {
  /// A tag of its own, as the messages are on their way while others are.
  private static let tag = 32_767

  /// Pieces of each other process that the first one has not been told of yet.
  private var due: [Int]
  /// From each process, on the first one.
  private let incoming: [ProcessGroup.Messages]
  private let outgoing = ProcessGroup.Messages()
  /// The number on its way from each process, or each of this process's own.
  private let numbers: UnsafeMutablePointer<Int64>
  private var added = 0

  /// - Parameter pieces: of each process.
  package init(pieces: [Int]) {
    let room = ProcessGroup.isFirst ? pieces.count : pieces[ProcessGroup.rank]
    numbers = .allocate(capacity: max(1, room))
    numbers.initialize(repeating: 0, count: max(1, room))
    due = ProcessGroup.isFirst ? [0] + pieces.dropFirst() : []
    incoming = due.map { _ in ProcessGroup.Messages() }
    for rank in due.indices { expect(rank) }
  }

  deinit { numbers.deallocate() }

  /// Says that one more piece is done.
  /// - Parameter told: takes each piece's number, on the first process those of others that have come meanwhile too.
  package func add(_ number: Int = 1, told: (Int) -> Void) {
    told(number)
    if ProcessGroup.isFirst {
      for rank in due.indices { while due[rank] > 0, incoming[rank].areDone { told(take(rank)) } }
    } else {
      numbers[added] = Int64(number)
      outgoing.send(numbers + added, bytes: 8, to: 0, tag: Self.tag)
      added += 1
    }
  }

  /// Returns when the first process has been told of all.
  package func finish(told: (Int) -> Void) {
    for rank in due.indices {
      while due[rank] > 0 {
        incoming[rank].wait()
        told(take(rank))
      }
    }
    outgoing.wait()
  }

  private func expect(_ rank: Int) {
    if due[rank] > 0 { incoming[rank].receive(numbers + rank, bytes: 8, from: rank, tag: Self.tag) }
  }

  private func take(_ rank: Int) -> Int {
    let number = Int(numbers[rank])
    due[rank] -= 1
    expect(rank)
    return number
  }
}
