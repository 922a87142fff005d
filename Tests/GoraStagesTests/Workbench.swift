import Foundation
import Glibc
import GoraCore
import GoraFormats
import GoraStages
import Testing

/// A temporary folder with the llama fixture in it: `model`, `other` (the same shapes, another weight) and `rows.jsonl`.
final class Workbench: Sendable {
  let path: String

  static let fixtures = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: "Fixtures").path()

  init() throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "gora-stages-\(UUID().uuidString)").path()
    path = folder
    let files = FileManager.default
    try files.createDirectory(atPath: path, withIntermediateDirectories: true)
    for name in ["model", "other"] { try files.copyItem(atPath: "\(Self.fixtures)/llama/model", toPath: "\(folder)/\(name)") }
    try files.copyItem(atPath: "\(Self.fixtures)/llama/rows.jsonl", toPath: "\(folder)/rows.jsonl")
    try change("other/model.safetensors") { $0[$0.count - 4] ^= 1 }
  }

  /// The same with the model of a case of Fixtures/families and its rows, cut in two; `other` is missing.
  init(family name: String) throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "gora-stages-\(UUID().uuidString)").path()
    path = folder
    let golden = try JSONDocument(path: "golden.json", text: readWholeFile("\(Self.fixtures)/families/golden.json")).root
    let test = try golden.required("cases").required(name)
    let type = try test.required("type").string
    var members = try golden.required("shape").members.map { JSON.Member($0.key, $0.field.value) }
    for (key, field) in try test.required("change").members {
      members.removeAll { $0.key == key }
      members.append(JSON.Member(key, field.value))
    }
    members.append(JSON.Member("model_type", JSON(type)))
    try FileManager.default.createDirectory(atPath: "\(folder)/model", withIntermediateDirectories: true)
    try FileManager.default.copyItem(
      atPath: "\(Self.fixtures)/families/\(type).safetensors", toPath: "\(folder)/model/model.safetensors")
    try write(JSON(.object(members)).pretty(), to: "model/config.json")
    let rows = try golden.required("rows").elements.map { try $0.ints }.flatMap {
      [$0.prefix($0.count / 2), $0.suffix(from: $0.count / 2)]
    }
    try write(rows.map { "{\"input_ids\": \(Array($0)), \"labels\": \(Array($0))}\n" }.joined(), to: "rows.jsonl")
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func file(_ name: String) -> String { "\(path)/\(name)" }
  func bytes(_ name: String) throws -> [UInt8] { try readWholeFile(file(name)) }
  func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: file(name)) }
  /// Until another process has made it, half a minute at most.
  func wait(for name: String) {
    let deadline = ContinuousClock.now + .seconds(30)
    while !exists(name), ContinuousClock.now < deadline { usleep(500) }
  }
  func remove(_ name: String) throws { try FileManager.default.removeItem(atPath: file(name)) }
  func copy(_ name: String, to other: String) throws { try FileManager.default.copyItem(atPath: file(name), toPath: file(other)) }

  func write(_ text: String, to name: String) throws { try write(Array(text.utf8), to: name) }
  func write(_ bytes: [UInt8], to name: String) throws { try Data(bytes).write(to: URL(filePath: file(name))) }

  func change(_ name: String, _ body: (inout [UInt8]) -> Void) throws {
    var content = try bytes(name)
    body(&content)
    try write(content, to: name)
  }

  /// Every file below a folder (all of the workbench by default), sorted; folders themselves are not listed.
  func files(in name: String = "") -> [String] {
    let root = name.isEmpty ? path : file(name)
    guard let found = FileManager.default.enumerator(atPath: root) else { return [] }
    return found.compactMap { $0 as? String }.filter {
      var isFolder: ObjCBool = false
      return FileManager.default.fileExists(atPath: "\(root)/\($0)", isDirectory: &isFolder) && !isFolder.boolValue
    }.sorted()
  }

  /// All files below a folder with their bytes.
  func contents(_ name: String) throws -> [String: [UInt8]] {
    var contents: [String: [UInt8]] = [:]
    for file in files(in: name) { contents[file] = try bytes("\(name)/\(file)") }
    return contents
  }

  /// Puts a value into one number of a weight, near its file's end.
  func poison(_ model: String, with value: Float) throws {
    let bits = value.bitPattern
    try change("\(model)/model.safetensors") { bytes in
      for i in 0..<4 { bytes[bytes.count - 4 + i] = UInt8(truncatingIfNeeded: bits >> (8 * UInt32(i))) }
    }
  }
}

/// What a tool left behind when it ended.
struct Outcome {
  /// The exit status; 128 + n where signal n ended it.
  var status: Int32
  var output: String
  var error: String

  /// The estimate of -v beside the kernel's own count, in MiB, within a fifth; the process itself is most of both in a small run.
  @discardableResult
  func expectEstimatedMemory() throws -> (expected: Double, found: Double) {
    #expect(status == 0, "\(error)")
    let estimate = try #require(error.firstMatch(of: #/memory about ([0-9]+) MiB: ([0-9]+) MiB anonymous/#), "\(error)")
    let measured = try #require(error.firstMatch(of: #/memory at most ([0-9]+) MiB/#), "\(error)")
    let (expected, found) = (try #require(Double(estimate.output.1)), try #require(Double(measured.output.1)))
    #expect(abs(expected - found) < 0.2 * found, "\(error)")
    #expect(try #require(Double(estimate.output.2)) <= expected)
    return (expected, found)
  }
}

/// A tool of this build as a child process, in a folder of its own.
final class Child {
  private var pid: pid_t = 0
  var processID: pid_t { pid }
  private let streams: String

  /// The folder of the test bundle, where the tools are built too.
  static let tools: String = {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = readlink("/proc/self/exe", &buffer, buffer.count - 1)
    let path = String(decoding: buffer.prefix(max(0, count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let folder = URL(filePath: path).deletingLastPathComponent().path()
    if FileManager.default.isExecutableFile(atPath: "\(folder)/gora-train") { return folder }
    return URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
      .appending(path: ".build/debug").path()
  }()

  /// - Parameters:
  ///   - folder: working folder
  ///   - shell: how sh starts `"$@"`: limits and redirections go here
  init(_ tool: String, _ arguments: [String], in folder: String, environment: [String] = [], shell: String = "exec \"$@\"") throws
  {
    streams = FileManager.default.temporaryDirectory.appending(path: "gora-streams-\(UUID().uuidString)").path()
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, "\(streams).out", O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    posix_spawn_file_actions_addopen(&actions, 2, "\(streams).err", O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    let words = ["/bin/sh", "-c", "cd \"$0\" && \(shell)", folder, "\(Self.tools)/\(tool)"] + arguments
    let inherited = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("GORA_") && $0.key != "LC_ALL" }
    let variables = inherited.map { "\($0.key)=\($0.value)" }.sorted() + ["LC_ALL=C"] + environment
    var argv: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
    var envp: [UnsafeMutablePointer<CChar>?] = variables.map { strdup($0) } + [nil]
    defer { for pointer in argv + envp { free(pointer) } }
    // Threads of the concurrency runtime block most signals, and a child would inherit that.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    let status = posix_spawn(&pid, "/bin/sh", &actions, &attributes, &argv, &envp)
    guard status == 0 else { throw GoraError(.internal, "cannot start \(tool): \(String(cString: strerror(status)))") }
  }

  func send(_ signal: Int32) { kill(pid, signal) }

  /// Waits for the end.
  func wait() throws -> Outcome {
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    func text(_ end: String) throws -> String {
      defer { unlink("\(streams).\(end)") }
      return String(decoding: try readWholeFile("\(streams).\(end)"), as: UTF8.self)
    }
    let signal = status & 0x7F
    return Outcome(status: signal == 0 ? status >> 8 & 0xFF : 128 + signal, output: try text("out"), error: try text("err"))
  }

  static func run(
    _ tool: String, _ arguments: [String], in folder: String, environment: [String] = [], shell: String = "exec \"$@\""
  ) throws -> Outcome {
    try Child(tool, arguments, in: folder, environment: environment, shell: shell).wait()
  }
}

extension Workbench {
  /// Runs a tool here, as `gora-plan scores.json -o plan.json`.
  func run(_ line: String, environment: [String] = [], shell: String = "exec \"$@\"") throws -> Outcome {
    let words = line.split(separator: " ").map(String.init)
    return try Child.run(words[0], Array(words.dropFirst()), in: path, environment: environment, shell: shell)
  }

  /// grad.h5, scores.json, plan.json and init/, made by the tools.
  func prepare() throws {
    try succeed([
      "gora-grad --model model --data rows.jsonl --steps 6 -o grad.h5 -q", "gora-score --model model grad.h5 -o scores.json -q",
      "gora-plan scores.json --rank 4 -o plan.json -q", "gora-init plan.json --model model --gradients grad.h5 -o init -q",
    ])
  }

  /// `uniform.json` of rank 6 and `adalora` that begins with it.
  func prepareAdaLoRA() throws {
    try succeed([
      "gora-plan --uniform --model model --rank 6 --scaling lora -o uniform.json -q",
      "gora-init uniform.json --model model --adapter adalora -o adalora -q",
    ])
  }

  /// Rewrites the model's weights in f16.
  func halve() throws {
    var halves: [(name: String, shape: [Int], bytes: [UInt8])] = []
    for tensor in try SafetensorsFile(path: file("model/model.safetensors")).tensors {
      let values = try tensor.toFloat().map { Float16($0).bitPattern }
      halves.append((tensor.name, tensor.shape, values.withUnsafeBytes { Array($0) }))
    }
    let rewritten = try AtomicFile(path: file("model/model.safetensors"))
    let entries = halves.map { SafetensorsWriter.Entry(name: $0.name, dtype: .f16, shape: $0.shape) }
    try SafetensorsWriter.write(to: rewritten, entries: entries, metadata: [("format", "pt")]) {
      entry, append throws(GoraError) in
      let bytes = halves.first { $0.name == entry.name }?.bytes ?? []
      try bytes.withUnsafeBytes { bytes -> Result<Void, GoraError> in
        do throws(GoraError) { return .success(try append(bytes)) } catch { return .failure(error) }
      }.get()
    }
    try rewritten.commit()
  }

  private func succeed(_ lines: [String]) throws {
    for line in lines {
      let outcome = try run(line)
      guard outcome.status == 0 else { throw GoraError(.internal, "\(line): \(outcome.status) \(outcome.error)") }
    }
  }
}
