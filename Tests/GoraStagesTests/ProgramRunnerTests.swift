import Foundation
import Glibc
import GoraCore
import GoraFormats
import GoraText
import Testing

@testable import GoraStages

/// Programs that nobody has read: what they may do, and what is left of them.
@Suite(.serialized) struct ProgramRunnerTests {
  /// HumanEval's problems, where they are beside the project.
  private static let problems: String? = {
    let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    let shared = getenv("GORA_SHARED").map { String(cString: $0) } ?? root.appending(path: "../shared").path()
    let path = "\(shared)/data/humaneval/HumanEval.jsonl"
    return access(path, R_OK) == 0 ? path : nil
  }()

  private static func runner(sandboxed: Bool = true, timeLimit: Double = 5) -> ProgramRunner {
    var options = ProgramOptions()
    (options.isSandboxed, options.timeLimit) = (sandboxed, timeLimit)
    return ProgramRunner(options)
  }

  /// Whether bubblewrap, and the namespaces it needs, are to be had.
  private static let hasSandbox: Bool = {
    do {
      try runner().check()
      return true
    } catch { return false }
  }()
  private static let noSandbox: Comment = "bubblewrap cannot run here, so that nothing is said of the sandbox"

  private static func verdicts(
    _ programs: [String], sandboxed: Bool = true, timeLimit: Double = 5, atOnce: Int = 2
  ) throws -> [ProgramVerdict] {
    var verdicts = [ProgramVerdict?](repeating: nil, count: programs.count)
    try runner(sandboxed: sandboxed, timeLimit: timeLimit).run(programs, atOnce: atOnce) {
      #expect(verdicts[$0] == nil)
      verdicts[$0] = $1
    }
    return try verdicts.map { try #require($0) }
  }

  /// How programs end, with and without a sandbox.
  @Test(arguments: [true, false]) func verdicts(_ sandboxed: Bool) throws {
    if sandboxed, !Self.hasSandbox { return }
    let cases: [(String, ProgramVerdict)] = [
      ("", .passed), ("assert 1 + 1 == 2", .passed), ("assert 1 + 1 == 3, 'no'", .failed("AssertionError: no")),
      ("raise ValueError('a\\nb')", .failed("ValueError: a b")), ("import sys; sys.exit(0)", .failed("SystemExit: 0")),
      ("import os; os._exit(0)", .noVerdict), ("print('passed\\n' * 100000)", .passed),
      ("print(' passed'); raise SystemExit", .failed("SystemExit: ")), ("input()", .failed("EOFError: EOF when reading a line")),
      ("if __name__ == '__main__': raise ValueError", .passed),
      ("import os\nif os.fork(): raise ValueError('parent')", .failed("ValueError: parent")),
      (
        "import os\nfor fd in range(3, 60):\n  try:\n    while True: os.write(fd, b'x' * 4096)\n  except OSError: pass",
        .noVerdict
      ),
      ("x = bytearray(1 << 33)", .failed("MemoryError: ")),
      ("def f(:", .failed("SyntaxError: invalid syntax (<string>, line 1)")),
      ("assert 'é' == '\\u00e9'", .passed), ("open('a', 'w').write('x'); assert open('a').read() == 'x'", .passed),
    ]
    let found = try Self.verdicts(cases.map(\.0), sandboxed: sandboxed)
    for ((program, expected), verdict) in zip(cases, found) { #expect(verdict == expected, "\(program)") }
  }

  /// Time that is up: a loop, a sleep, and a program that does not let itself be stopped.
  @Test(arguments: [true, false]) func hanging(_ sandboxed: Bool) throws {
    if sandboxed, !Self.hasSandbox { return }
    let stubborn = "while True:\n  try:\n    while True: pass\n  except BaseException: pass"
    let found = try Self.verdicts(
      ["while True: pass", "import time; time.sleep(1000)", stubborn, ""], sandboxed: sandboxed, timeLimit: 0.4, atOnce: 4)
    #expect(found[0] == .timedOut && found[1] == .timedOut && found[3] == .passed)
    // Its time on the CPU runs out, or it is killed.
    #expect(found[2] == .noVerdict || found[2] == .timedOut)
  }

  /// Nothing of the user's is to be read, no address to be reached, nothing to be written but a folder of its own.
  @Test(.enabled(if: hasSandbox, noSandbox)) func nothingToBeHad() throws {
    let bench = try Workbench()
    try bench.write("secret", to: "secret.txt")
    // Readable to everybody.
    chmod(bench.file("secret.txt"), 0o644)
    chmod(bench.path, 0o755)
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(listener) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    try withUnsafeMutablePointer(to: &address) { pointer in
      try pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        try #require(bind(listener, $0, size) == 0 && listen(listener, 4) == 0 && getsockname(listener, $0, &size) == 0)
      }
    }
    let port = Int(UInt16(bigEndian: address.sin_port))
    let home = NSHomeDirectory()
    let programs = [
      "open('\(bench.file("secret.txt"))').read()", "import os; os.listdir('\(home)')", "open('/etc/passwd').read()",
      "import socket; socket.create_connection(('127.0.0.1', \(port)), 2)",
      "import socket; socket.create_connection(('192.0.2.1', 80), 2)", "import os; os.kill(\(getpid()), 0)",
      "open('/usr/lib/x', 'w')", "open('/x', 'w')", "open('/dev/shm/x', 'w')", "import os; os.setuid(0)",
      "import subprocess; subprocess.run(['mount', '-t', 'tmpfs', 'x', '/tmp'], check=True)",
      "import os; assert os.environ.get('HOME') != '\(home)'; raise KeyError",
    ]
    let found = try Self.verdicts(programs)
    for (program, verdict) in zip(programs, found) {
      guard case .failed = verdict else {
        Issue.record("\(program): \(verdict)")
        continue
      }
    }
    // Nobody has come.
    var waiting = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
    #expect(poll(&waiting, 1, 0) == 0)
    #expect(try bench.bytes("secret.txt") == Array("secret".utf8))
  }

  /// Processes without end, and a disk that is filled: the program fails, and nothing of it is left.
  @Test(.enabled(if: hasSandbox, noSandbox)) func tooMuch() throws {
    let mark = "98765\(UInt32.random(in: 1000...9999)).5"
    let before = try FileManager.default.contentsOfDirectory(atPath: "/tmp").count
    let programs = [
      "import os\nwhile True:\n  if os.fork() == 0: os.execvp('sleep', ['sleep', '\(mark)'])",
      "import os\nwhile True: os.fork()",
      "i = 0\nwhile True:\n  i += 1\n  open(f'/tmp/f{i}', 'wb').write(b'x' * 1000000)",
      "with open('/tmp/f', 'wb') as file:\n  while True: file.write(b'x' * 1000000)",
    ]
    let found = try Self.verdicts(programs, timeLimit: 3)
    for (program, verdict) in zip(programs, found) { #expect(verdict != .passed, "\(program)") }
    #expect(found[2] == .failed("OSError: [Errno 28] No space left on device"))
    #expect(found[3] == .failed("OSError: [Errno 27] File too large"))
    // The kernel ends a sandbox's processes one after the other.
    var left = Self.processes(naming: mark)
    for _ in 0..<200 where left > 0 {
      usleep(50_000)
      left = Self.processes(naming: mark)
    }
    #expect(left == 0)
    #expect(try FileManager.default.contentsOfDirectory(atPath: "/tmp").count <= before + 8)
  }

  /// Processes of all users whose command line has a word.
  private static func processes(naming mark: String) -> Int {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
    return names.filter { Int($0) != nil }.count { name in
      (try? readWholeFile("/proc/\(name)/cmdline")).map { String(decoding: $0, as: UTF8.self).contains(mark) } ?? false
    }
  }

  /// Without a sandbox too a program's processes and files go with it.
  @Test func leavingsWithoutSandbox() throws {
    let mark = "98765\(UInt32.random(in: 1000...9999)).25"
    let folder = NSTemporaryDirectory()
    func folders() throws -> Int {
      try FileManager.default.contentsOfDirectory(atPath: folder).count { $0.hasPrefix("gora-program.") }
    }
    let before = try folders()
    let program = """
      import os
      os.makedirs("a/b"); open("a/b/c", "w"); os.symlink("/", "a/root"); os.chmod("a", 0)
      if os.fork() == 0: os.execvp("sleep", ["sleep", "\(mark)"])
      """
    #expect(try Self.verdicts([program], sandboxed: false) == [.passed])
    #expect(try folders() == before && Self.processes(naming: mark) == 0)
  }

  /// HumanEval's own solutions pass, all of them; each with its results changed fails.
  @Test(.enabled(if: problems != nil && hasSandbox, "HumanEval is not beside the project, or bubblewrap cannot run"))
  func canonicalSolutions() throws {
    let problems = try DataFile.read([#require(Self.problems)]) { row throws(GoraError) in [try ProgramProblem(row)] }.rows
    #expect(problems.count == 164)
    let changed = problems.map { problem in
      problem.program(
        "\(problem.solution)\n\n_right = \(problem.entryPoint)\n\ndef \(problem.entryPoint)(*given):\n    _right(*given)\n    return None\n"
      )
    }
    let verdicts = try Self.verdicts(problems.map { $0.program($0.solution) } + changed, timeLimit: 20)
    for (problem, verdict) in zip(problems, verdicts) { #expect(verdict == .passed, "\(problem.name)") }
    for (problem, verdict) in zip(problems, verdicts.dropFirst(164)) {
      guard case .failed = verdict else {
        Issue.record("\(problem.name) passes whatever it returns: \(verdict)")
        continue
      }
    }
  }

  /// What is missing, or does not run, is named with the way out.
  @Test func missingTools() throws {
    let bench = try Workbench()
    func error(sandboxed: Bool) -> GoraError? {
      var options = ProgramOptions()
      options.isSandboxed = sandboxed
      return #expect(throws: GoraError.self) { try ProgramRunner(options, path: bench.path).check() }
    }
    let missing = error(sandboxed: true)
    #expect(missing?.status == .unavailable && missing?.problem.hasPrefix("no \"bwrap\" in ") == true)
    #expect(missing?.hint?.contains("apt-get install bubblewrap") == true && missing?.hint?.contains("--no-sandbox") == true)
    #expect(error(sandboxed: false)?.status == .unavailable)
    // As where the system lets no one make namespaces.
    for tool in ["bwrap", "setpriv"] {
      try bench.write("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2; exit 1\n", to: tool)
      chmod(bench.file(tool), 0o755)
    }
    let refused = error(sandboxed: true)
    #expect(
      refused?.status == .unavailable && refused?.problem.hasSuffix(": bwrap: No permissions to create new namespace") == true)
  }
}
