import Glibc
import GoraCore
import GoraFormats

/// Runs Python programs that nobody has read: each in a process group of its own that is killed as one, with limits on time, memory, files
/// and processes, and, unless the user gives that up, in a sandbox.
package struct ProgramRunner: Sendable {
  /// Seconds that a program may take; its start is not counted.
  private let timeLimit: Double
  private let isSandboxed: Bool
  /// Folders of the tools, and of Python.
  private let path: String

  package init(_ options: ProgramOptions, path: String = "/usr/local/bin:/usr/bin:/bin") {
    timeLimit = options.timeLimit
    isSandboxed = options.isSandboxed
    self.path = path
  }

  /// What holds the programs, for the result.
  package var name: String { isSandboxed ? "bubblewrap" : "none" }

  /// Runs a program that must pass.
  /// - Throws: status 69 where Python or the sandbox cannot be had here.
  package func check() throws(GoraError) {
    let needed = isSandboxed ? ["bwrap"] : ["env", "timeout", "prlimit", "python3"]
    for tool in needed + (Self.isRoot && isSandboxed ? ["setpriv"] : []) where place(of: tool) == nil {
      throw GoraError(.unavailable, "no \"\(tool)\" in \(path), which runs the programs", hint: hint)
    }
    var verdict = ProgramVerdict.noVerdict
    var message = ""
    try run(["pass"], atOnce: 1, isTrial: true) { _, found in
      verdict = found
    } failed: {
      message = $0
    }
    guard verdict == .passed else {
      let said = message.split(separator: "\n").first.map { ": \($0)" } ?? ""
      throw GoraError(.unavailable, "programs cannot be run here (\(verdict))\(said)", hint: hint)
    }
  }

  private var hint: String {
    isSandboxed
      ? "apt-get install bubblewrap python3; where the system lets no one make namespaces, --no-sandbox runs the programs as you, with limits alone"
      : "apt-get install python3 util-linux coreutils"
  }

  private static var isRoot: Bool { geteuid() == 0 }

  private func place(of tool: String) -> String? {
    path.split(separator: ":").map { "\($0)/\(tool)" }.first { access($0, X_OK) == 0 }
  }

  /// - Parameters:
  ///   - atOnce: programs that run at a time.
  ///   - finished: told of each program's verdict as it ends.
  /// - Throws: status 74 where the system lets no process or file be made.
  package func run(
    _ programs: [String], atOnce: Int, finished: (_ program: Int, ProgramVerdict) -> Void
  ) throws(GoraError) {
    try run(programs, atOnce: atOnce, isTrial: false, finished: finished, failed: { _ in })
  }

  private func run(
    _ programs: [String], atOnce: Int, isTrial: Bool, finished: (Int, ProgramVerdict) -> Void, failed: (String) -> Void
  ) throws(GoraError) {
    var waiting = programs.indices.makeIterator()
    var running: [(index: Int, program: RunningProgram)] = []
    defer { for entry in running { entry.program.end() } }
    while true {
      while running.count < max(1, atOnce), let index = waiting.next() {
        running.append((index, try start(programs[index], isTrial: isTrial)))
      }
      if running.isEmpty { return }
      var descriptors = running.map { pollfd(fd: $0.program.output, events: Int16(POLLIN), revents: 0) }
      let wait = running.map { $0.program.remaining }.min() ?? 0
      if poll(&descriptors, nfds_t(descriptors.count), Int32(max(1, min(wait, 1) * 1000))) < 0, errno != EINTR {
        throw GoraError(.io, "cannot wait for programs: \(String(cString: strerror(errno)))")
      }
      for (place, entry) in running.enumerated() where descriptors[place].revents != 0 { entry.program.read() }
      running.removeAll { entry in
        guard let verdict = entry.program.verdict else { return false }
        entry.program.end()
        finished(entry.index, verdict)
        failed(entry.program.message)
        return true
      }
    }
  }

  private func start(_ program: String, isTrial: Bool) throws(GoraError) -> RunningProgram {
    // Not known to the program, so that what it prints is not taken for the verdict.
    let word = String(UInt64.random(in: 0 ... .max), radix: 16)
    let folder = isSandboxed ? nil : try TemporaryFolder()
    var command = command(folder)
    command[0] = place(of: command[0]) ?? command[0]
    return try RunningProgram(
      command: command, path: path, input: "\(word)\n\(program)", word: word, folder: folder,
      seconds: timeLimit + Self.startSeconds, showsErrors: isTrial)
  }

  /// Seconds beyond the limit after which a process is killed that has not kept it itself.
  private static let startSeconds = 5.0

  /// - Parameter folder: where the program runs; nil in a sandbox, which has one of its own.
  private func command(_ folder: TemporaryFolder?) -> [String] {
    // Python with some room; a file and all files together less than that; time on the CPU.
    let limits = [
      "prlimit", "--as=\(1 << 30)", "--fsize=\(16 << 20)", "--nofile=64", "--core=0", "--cpu=\(Int(timeLimit.rounded(.up)) + 2)",
    ]
    let python = ["python3", "-I", "-B", "-c", Self.harness, "\(timeLimit)"]
    if let folder {
      return ["env", "-C", folder.path, "timeout", "-s", "KILL", "\(timeLimit + Self.startSeconds)"] + limits + python
    }
    // The superuser's processes are not counted by the kernel, so another's run.
    return (Self.isRoot ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"] : [])
      + Self.sandbox + limits + ["--nproc=16"] + python
  }

  /// No network, no processes of others, the system's programs and libraries alone to be read, a folder in memory alone to be written.
  private static var sandbox: [String] {
    var words = ["bwrap", "--unshare-user", "--unshare-all", "--uid", "65534", "--gid", "65534", "--hostname", "sandbox"]
    words += ["--die-with-parent", "--new-session", "--ro-bind", "/usr", "/usr"]
    for folder in ["/lib", "/lib32", "/lib64", "/bin"] { words += link(folder) }
    for path in ["/etc/alternatives", "/etc/ld.so.cache", "/etc/localtime"] { words += ["--ro-bind-try", path, path] }
    words += ["--dev", "/dev", "--remount-ro", "/dev", "--size", "\(64 << 20)", "--tmpfs", "/tmp", "--remount-ro", "/"]
    return words + ["--chdir", "/tmp", "--"]
  }

  /// A link into /usr as it is, an older system's folder read-only.
  private static func link(_ folder: String) -> [String] {
    var target = [UInt8](repeating: 0, count: 4096)
    let count = readlink(folder, &target, target.count)
    if count > 0 { return ["--symlink", String(decoding: target[..<count], as: UTF8.self), folder] }
    return ["--ro-bind-try", folder, folder]
  }

  /// Takes in a word and a program, runs it, and says the word and how it went. What the program prints goes nowhere. As in the reference,
  /// names begin empty, and a signal ends the program when its time is up.
  private static let harness = """
    import os, signal, sys
    limit, pid, say = float(sys.argv[1]), os.getpid(), os.dup(1)
    word, _, program = sys.stdin.buffer.read().decode("utf-8", "surrogateescape").partition("\\n")
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2): os.dup2(null, stream)
    sys.argv[:] = [""]
    class Late(BaseException): pass
    def late(*_): raise Late
    def end(text, write=os.write, leave=os._exit, here=os.getpid):
        if here() == pid: write(say, (word + " " + text[:500].replace("\\n", " ") + "\\n").encode("utf-8", "replace"))
        leave(0)
    signal.signal(signal.SIGALRM, late)
    timer, number = signal.setitimer, signal.ITIMER_REAL
    try:
        timer(number, limit)
        exec(program, {})
        timer(number, 0)
    except Late: end("timed out")
    except BaseException as error:
        timer(number, 0)
        try: text = str(error)
        except BaseException: text = ""
        end("failed " + type(error).__name__ + ": " + text)
    end("passed")
    """
}
