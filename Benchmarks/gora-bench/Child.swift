import Glibc
import GoraCore
import GoraFormats

/// A program that has run: what it printed, how long it took, and what it held.
struct ChildResult {
  var output: String
  /// From its start to its end.
  var seconds: Double
  /// Of all its threads, in user and kernel mode.
  var processorSeconds: Double
  /// Largest resident memory (`ru_maxrss`): mapped files, libraries and its own.
  var peakBytes: Int
  /// Largest anonymous memory (`RssAnon`) seen, looking every 20 ms; 0 for a program that was not watched.
  var peakAnonymousBytes: Int
  /// Bytes that had to come from storage; what was cached is not among them.
  var storageBytes: Int

  /// What it printed, as JSON: the last line that is an object, or the whole.
  func json(_ program: String) throws(GoraError) -> JSONField {
    let lines = output.split(separator: "\n")
    let text = lines.last { $0.hasPrefix("{") && $0.hasSuffix("}") }.map(String.init) ?? output
    return try JSONDocument(path: "output of \(program)", text: Array(text.utf8)).root
  }
}

/// Starts programs and measures them.
struct ChildRunner {
  /// Where their output is caught.
  let folder: String

  /// Runs a program to its end.
  /// - Parameter watches: looks at its memory while it runs; without, its end is seen to the microsecond.
  /// - Throws: exit 70 where it cannot be started or fails, with the last line of what it said.
  func run(_ arguments: [String], watches: Bool = true) throws(GoraError) -> ChildResult {
    let program = arguments[0]
    let (outputPath, errorPath) = ("\(folder)/child.out", "\(folder)/child.err")
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for (descriptor, path) in [(STDOUT_FILENO, outputPath), (STDERR_FILENO, errorPath)] {
      posix_spawn_file_actions_addopen(&actions, descriptor, path, O_WRONLY | O_CREAT | O_TRUNC, 0o666)
    }
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    let environment = try readWholeFile("/proc/self/environ").split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
    var child = pid_t()
    let start = ContinuousClock.now
    let failure = withCStrings(arguments) { arguments in
      withCStrings(environment) { posix_spawnp(&child, program, &actions, nil, arguments, $0) }
    }
    guard failure == 0 else {
      throw GoraError(.noInput, at: .file(program), "cannot be started: \(String(cString: strerror(failure)))")
    }
    var usage = rusage()
    var status: Int32 = 0
    var anonymous = 0
    while true {
      let done = wait4(child, &status, watches ? WNOHANG : 0, &usage)
      if done == child { break }
      if done < 0, errno != EINTR { throw GoraError(.internal, "wait4: \(String(cString: strerror(errno)))") }
      anonymous = max(anonymous, anonymousBytes(of: child))
      if watches { usleep(20_000) }
    }
    let elapsed = start.duration(to: .now).components
    guard status == 0 else {
      let said = String(decoding: try readWholeFile(errorPath), as: UTF8.self).split(separator: "\n").suffix(4)
      let code = status & 0x7F == 0 ? "exit \(status >> 8 & 0xFF)" : "signal \(status & 0x7F)"
      throw GoraError(
        .internal, "\(arguments.joined(separator: " ")): \(code)\(said.isEmpty ? "" : ": \(said.joined(separator: " | "))")")
    }
    func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) * 1e-6 }
    return ChildResult(
      output: String(decoding: try readWholeFile(outputPath), as: UTF8.self),
      seconds: Double(elapsed.seconds) + Double(elapsed.attoseconds) * 1e-18,
      processorSeconds: seconds(usage.ru_utime) + seconds(usage.ru_stime), peakBytes: Int(usage.ru_maxrss) * 1024,
      peakAnonymousBytes: anonymous, storageBytes: Int(usage.ru_inblock) * 512)
  }

  /// `RssAnon` now; 0 where the process has just ended.
  private func anonymousBytes(of process: pid_t) -> Int {
    guard let text = try? readWholeFile("/proc/\(process)/status") else { return 0 }
    return ProcText.kibibytes("RssAnon:", in: text) << 10
  }
}

/// Calls `body` with the strings as a null-terminated array of C strings.
private func withCStrings<Result>(
  _ strings: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
) -> Result {
  var pointers = strings.map { strdup($0) } + [nil]
  defer { pointers.forEach { free($0) } }
  return pointers.withUnsafeMutableBufferPointer { buffer in
    guard let start = buffer.baseAddress else { preconditionFailure("the array ends in nil") }
    return body(start)
  }
}

/// Lines of /proc files: `key: value`.
enum ProcText {
  /// The value of the first line that starts with `key`.
  static func value(_ key: String, in text: [UInt8]) -> String? {
    for line in text.split(separator: 0x0A) where line.starts(with: key.utf8) {
      let value = line.dropFirst(key.utf8.count).drop { $0 == 0x20 || $0 == 0x09 || $0 == UInt8(ascii: ":") }
      return String(decoding: value, as: UTF8.self)
    }
    return nil
  }

  /// The number of a line such as `RssAnon:   1234 kB`; 0 where there is none.
  static func kibibytes(_ key: String, in text: [UInt8]) -> Int {
    value(key, in: text)?.split(separator: " ").first.flatMap { Int($0) } ?? 0
  }
}
