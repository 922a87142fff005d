import Glibc
import GoraCore

/// A child process with the text it reads and the line it answers with; killed with all that it has started.
final class RunningProgram {
  private let pid: pid_t
  /// Where its answer is read.
  let output: Int32
  private let word: String
  /// Goes with the program.
  private let folder: TemporaryFolder?
  private let deadline: ContinuousClock.Instant
  private var said: [UInt8] = []
  private var isClosed = false
  private var isEnded = false

  /// Most bytes that are read of it.
  private static let mostSaid = 1 << 14

  /// - Parameters:
  ///   - command: the tool's place, and its arguments.
  ///   - path: where it finds others.
  ///   - word: what a verdict begins with.
  ///   - folder: where it runs; nil where the command says so itself.
  ///   - seconds: after which it is killed.
  ///   - showsErrors: whether what it says on standard error is read too.
  /// - Throws: status 74 where it cannot be started.
  init(
    command: [String], path: String, input: String, word: String, folder: TemporaryFolder?, seconds: Double, showsErrors: Bool
  ) throws(GoraError) {
    self.word = word
    self.folder = folder
    (pid, output) = try Self.spawn(command, path, input: input, folder: folder?.path, showsErrors: showsErrors)
    deadline = .now + .seconds(seconds)
  }

  deinit { end() }

  private static func spawn(
    _ command: [String], _ path: String, input: String, folder: String?, showsErrors: Bool
  ) throws(GoraError) -> (pid_t, Int32) {
    let text = try UnnamedFile(Array(input.utf8)).descriptor
    defer { close(text) }
    let pipe = try ClosingPipe()
    defer { close(pipe.write) }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, text, 0)
    posix_spawn_file_actions_adddup2(&actions, pipe.write, 1)
    if showsErrors {
      posix_spawn_file_actions_adddup2(&actions, pipe.write, 2)
    } else {
      posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
    }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var (none, all) = (sigset_t(), sigset_t())
    sigemptyset(&none)
    sigfillset(&all)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setsigdefault(&attributes, &all)
    posix_spawnattr_setpgroup(&attributes, 0)
    posix_spawnattr_setflags(
      &attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP))
    // Nothing of the user's environment; hashes that do not change from run to run.
    let variables = [
      "PATH=\(path)", "HOME=/tmp", "TMPDIR=\(folder ?? "/tmp")", "LANG=C.UTF-8", "PYTHONHASHSEED=0",
      "OMP_NUM_THREADS=1",
    ]
    var argv: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) } + [nil]
    var envp: [UnsafeMutablePointer<CChar>?] = variables.map { strdup($0) } + [nil]
    defer { for pointer in argv + envp { free(pointer) } }
    var pid: pid_t = 0
    let status = posix_spawn(&pid, command[0], &actions, &attributes, &argv, &envp)
    guard status == 0 else {
      close(pipe.read)
      throw GoraError(.io, "cannot start \"\(command[0])\": \(String(cString: strerror(status)))")
    }
    return (pid, pipe.read)
  }

  /// Seconds until it is killed.
  var remaining: Double {
    let left = ContinuousClock.now.duration(to: deadline).components
    return Double(left.seconds) + Double(left.attoseconds) * 1e-18
  }

  /// Takes in what is there to be read; call where something is.
  func read() {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = systemRead(output, &buffer, buffer.count)
    if count > 0 {
      said += buffer[..<count]
    } else if count == 0 || errno != EINTR {
      isClosed = true
    }
  }

  /// nil while it runs.
  var verdict: ProgramVerdict? {
    for line in said.split(separator: 0x0A, omittingEmptySubsequences: false).dropLast() where line.starts(with: "\(word) ".utf8)
    {
      let text = String(decoding: line.dropFirst(word.utf8.count + 1), as: UTF8.self)
      switch text {
      case "passed": return .passed
      case "timed out": return .timedOut
      default: return .failed(text.hasPrefix("failed ") ? String(text.dropFirst(7)) : text)
      }
    }
    if isClosed || said.count > Self.mostSaid { return .noVerdict }
    return remaining <= 0 ? .timedOut : nil
  }

  /// What it said besides.
  var message: String { String(decoding: said.prefix(2048), as: UTF8.self) }

  /// Ends its whole group, and takes its folder away.
  func end() {
    if isEnded { return }
    isEnded = true
    kill(-pid, SIGKILL)
    kill(pid, SIGKILL)
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    close(output)
  }
}

private func systemRead(_ descriptor: Int32, _ buffer: UnsafeMutableRawPointer, _ count: Int) -> Int {
  read(descriptor, buffer, count)
}
