import CGoraMPI

/// The processes that a launcher started together (mpirun, srun) and that share a run's work; one where there was none.
///
/// Process-wide like `ThreadPool`, and called by the main thread alone. What all processes call, they call in the same order.
package enum ProcessGroup {
  /// This process's number, `0..<size`. The first writes and talks.
  package static var rank: Int { state.rank }
  package static var size: Int { state.size }
  package static var isFirst: Bool { rank == 0 }
  package static var isAlone: Bool { size == 1 }
  /// Processes of the group that run on this machine, this one included.
  package static var ranksOnThisMachine: Int { state.ranksHere }
  /// CPUs a process, where each CPU is shared out among the processes that may use it; the least of all processes. nil: not known, or
  /// alone.
  package static var cpus: Int? { state.cpus }

  private struct State {
    var rank = 0
    var size = 1
    var ranksHere = 1
    var cpus: Int?
  }

  /// Written once, by `join`, before there is another thread.
  private nonisolated(unsafe) static var state = State()

  /// Joins the processes that the launcher started with this one; where there is no launcher, nothing happens.
  /// - Throws: status 69 where the launcher's MPI is not to be had or is another, 64 where the launcher does not say how its processes find each other.
  package static func join(_ launch: ProcessLaunch = ProcessLaunch()) throws(GoraError) {
    if let refusal = launch.refusal { throw refusal }
    guard !launch.families.isEmpty, launch.size != 1 else { return }
    var failure = ""
    for family in launch.families {
      var isMissing = false
      guard let problem = gora_mpi_join(family.code, &isMissing) else {
        settle()
        if let started = launch.size, started != size {
          // Each would do all the work, and write the output.
          throw GoraError(
            .unavailable, "\(family.launcher) started \(started) processes, and MPI's library knows of \(size)",
            hint: "both must be of one MPI: apt-get install \(family.package), or another mpirun")
        }
        return
      }
      failure = String(cString: problem)
      if !isMissing { break }
    }
    let family = launch.families[0]
    throw GoraError(
      .unavailable, "started as one of several processes by \(family.launcher), and \(failure)",
      hint: "apt-get install \(family.package), or start one process without a launcher")
  }

  /// Learns who is where.
  private static func settle() {
    state.rank = Int(gora_mpi_rank())
    state.size = Int(gora_mpi_size())
    if isAlone { return }
    let here = MachinePlace.own
    let places = allGather(Array(here.text.utf8)).map { MachinePlace(String(decoding: $0, as: UTF8.self)) }
    state.ranksHere = places.count { $0.machine == here.machine }
    state.cpus = MachinePlace.leastShare(places)
  }

  // MARK: Messages

  /// Messages under way at the same time.
  package final class Messages {
    private let messages = gora_mpi_messages_new()!

    package init() {}
    deinit { gora_mpi_messages_free(messages) }

    package func send(_ start: UnsafeRawPointer, bytes: Int, to rank: Int, tag: Int = 0) {
      ProcessGroup.sent += bytes
      ProcessGroup.sentMessages += 1
      gora_mpi_send(messages, start, bytes, Int32(rank), Int32(tag))
    }

    package func receive(_ start: UnsafeMutableRawPointer, bytes: Int, from rank: Int, tag: Int = 0) {
      gora_mpi_receive(messages, start, bytes, Int32(rank), Int32(tag))
    }

    /// Returns when all are done: what was sent may change, what was received is there.
    package func wait() {
      let start = ContinuousClock.now
      gora_mpi_wait(messages)
      ProcessGroup.waited += start.duration(to: .now)
    }

    /// Whether all are done.
    var areDone: Bool { gora_mpi_done(messages) }
  }

  /// Bytes that this process has sent.
  package private(set) nonisolated(unsafe) static var sent = 0
  private nonisolated(unsafe) static var sentMessages = 0
  /// Time in which it waited for messages.
  package private(set) nonisolated(unsafe) static var waited = Duration.zero

  /// What went over the wires, for people; nil where there was nothing.
  package static var traffic: String? {
    if isAlone { return nil }
    let seconds = Double(waited.components.seconds) + Double(waited.components.attoseconds) * 1e-18
    return "\(NumberText.grouped(sent)) bytes in \(NumberText.grouped(sentMessages)) messages sent by process \(rank), "
      + "which waited for messages for \(NumberText.fixed(seconds, 2)) s"
  }

  /// Every process's values, by rank, on all of them.
  package static func allGather<Value: BitwiseCopyable>(_ values: [Value]) -> [[Value]] {
    if isAlone { return [values] }
    let counts = allGather(Int64(values.count)).map { Int($0) }
    var starts = [0]
    for count in counts { starts.append(starts[starts.count - 1] + count) }
    let all = UnsafeMutablePointer<Value>.allocate(capacity: max(1, starts[size]))
    defer { all.deallocate() }
    let messages = Messages()
    values.withUnsafeBytes { own in
      for other in 0..<size where other != rank {
        if let from = own.baseAddress { messages.send(from, bytes: own.count, to: other) }
        messages.receive(all + starts[other], bytes: counts[other] * MemoryLayout<Value>.stride, from: other)
      }
      messages.wait()
    }
    return (0..<size).map { rank in
      rank == self.rank ? values : Array(UnsafeBufferPointer(start: all + starts[rank], count: counts[rank]))
    }
  }

  /// One value of each process, by rank, on all of them.
  package static func allGather<Value: BitwiseCopyable>(_ value: Value) -> [Value] {
    var all = [Value](repeating: value, count: size)
    if isAlone { return all }
    let messages = Messages()
    let stride = MemoryLayout<Value>.stride
    withUnsafeBytes(of: value) { own in
      all.withUnsafeMutableBytes { all in
        guard let from = own.baseAddress, let to = all.baseAddress else { return }
        for other in 0..<size where other != rank {
          messages.send(from, bytes: own.count, to: other)
          messages.receive(to + other * stride, bytes: own.count, from: other)
        }
        messages.wait()
      }
    }
    return all
  }

  /// The first process's value, on all of them.
  package static func first<Value: BitwiseCopyable>(_ value: Value) -> Value { allGather(value)[0] }

  /// Refuses to go on where processes have different inputs: their shares would not belong together.
  /// - Parameter lines: what decides the run's bytes, as `key=value` lines.
  /// - Throws: status 65 on all of them, with the first process that differs and the first line in which it does.
  package static func requireSame(_ lines: String) throws(GoraError) {
    let all = allGather(Array(lines.utf8)).map { String(decoding: $0, as: UTF8.self) }
    guard let other = all.indices.first(where: { all[$0] != all[0] }) else { return }
    let (ours, theirs) = (all[0].split(separator: "\n"), all[other].split(separator: "\n"))
    let (first, second) = zip(ours, theirs).first { $0 != $1 } ?? ("\(ours.count) settings", "\(theirs.count) settings")
    throw GoraError(
      .data, "the processes do not have the same run before them: \(first) on process 0, \(second) on process \(other)",
      hint: "all need the same files, libraries, kind of CPU and threads (--threads)")
  }

  // MARK: The end

  /// Ends all processes with a status.
  package static func abort(_ status: ExitStatus) { if !isAlone { gora_mpi_abort(status.rawValue) } }

  /// Waits for the others, and leaves the group.
  package static func leave() {
    if isAlone { return }
    _ = allGather(UInt8(0))
    gora_mpi_leave()
  }
}
