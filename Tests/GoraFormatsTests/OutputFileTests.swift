import Foundation
import GoraCore
import GoraFormats
import Testing

@Suite struct OutputFileTests {
  @Test func replacesOnlyOnCommit() throws {
    let scratch = ScratchFolder()
    let path = try scratch.file("a", "old")
    do {
      let file = try AtomicFile(path: path)
      try file.write(Array("half".utf8))
      #expect(scratch.names.count == 2 && scratch.names[0].wholeMatch(of: /\.a\.[0-9a-f]{16}\.tmp/) != nil)
      #expect(try scratch.bytes("a") == Array("old".utf8))
    }
    #expect(scratch.names == ["a"])
    try AtomicFile.write(path: path, text: "new")
    #expect(try scratch.bytes("a") == Array("new".utf8))
    #expect(scratch.names == ["a"])
  }

  @Test func aSecondWriterOutlivesTheFirst() throws {
    let scratch = ScratchFolder()
    let path = "\(scratch.path)/a"
    var first: AtomicFile? = try AtomicFile(path: path)
    try first?.commit()
    let second = try AtomicFile(path: path)
    first = nil
    try second.write([1])
    try second.commit()
    #expect(try scratch.bytes("a") == [1])
  }

  /// What a killed writer left goes, what a living one holds stays and keeps others out; names that are not ours are nobody's.
  @Test func knowsLeftoversByTheirLocks() throws {
    let scratch = ScratchFolder()
    let path = "\(scratch.path)/a"
    let foreign = [".a.0123456789abcdeg.tmp", ".a.123.tmp", ".ab.0123456789abcdef.tmp"]
    for name in foreign + [".a.0123456789abcdef.tmp"] { _ = try scratch.file(name, "half") }
    #expect(symlink("/dev/null", "\(scratch.path)/.a.00000000000000ff.tmp") == 0)
    #expect(mkfifo("\(scratch.path)/.a.00000000000000fe.tmp", 0o600) == 0)
    let kept = (foreign + [".a.00000000000000ff.tmp", ".a.00000000000000fe.tmp"]).sorted()
    let file = try AtomicFile(path: path)
    #expect(scratch.names.count == kept.count + 1 && Set(kept).isSubset(of: scratch.names))
    let error = errorThrown { try AtomicFile(path: path) }
    #expect(error.status == .cannotCreate && error.problem.contains("another run"))
    #expect(errorThrown { try AtomicFile.removeLeftovers(of: path) }.status == .cannotCreate)
    try file.write([1])
    try file.commit()
    #expect(scratch.names == (kept + ["a"]).sorted())
    try AtomicFile.write(path: path, text: "again")
    #expect(scratch.names == (kept + ["a"]).sorted())
  }

  /// A file that stays open after it has its name: for others to read, not to write.
  @Test func publishesAndGoesOn() throws {
    let scratch = ScratchFolder()
    let path = "\(scratch.path)/log"
    var file: AtomicFile? = try AtomicFile(path: path)
    try file?.write([1])
    try file?.publish()
    try file?.write([2])
    #expect(try scratch.bytes("log") == [1, 2])
    #expect(errorThrown { try AtomicFile.requireUnlocked(path) }.status == .cannotCreate)
    file = nil
    try AtomicFile.requireUnlocked(path)
    #expect(scratch.names == ["log"])
  }

  /// Two files that belong together: where the second cannot be put in place, both old ones come back.
  @Test func filesOfOneFolderAppearTogether() throws {
    let scratch = ScratchFolder()
    let paths = try ["weights", "config"].map { try scratch.file($0, "old \($0)") }
    for broken in [0, 1] {
      let files = try paths.map { try AtomicFile(path: $0) }
      for file in files { try file.write(Array("new".utf8)) }
      unlink(files[broken].temporaryPath)
      #expect(errorThrown { try AtomicFile.commit(files) }.status == .cannotCreate)
      #expect(scratch.names == ["config", "weights"])
      for name in scratch.names { #expect(try scratch.bytes(name) == Array("old \(name)".utf8)) }
    }
    let folder = try OutputFolder(path: scratch.path, files: ["weights", "config"])
    for name in ["weights", "config"] { try folder[name].write(Array("new \(name)".utf8)) }
    try folder.commit()
    #expect(scratch.names == ["config", "weights"])
    for name in scratch.names { #expect(try scratch.bytes(name) == Array("new \(name)".utf8)) }
  }

  @Test func foldersOfFailedRunsGo() throws {
    let scratch = ScratchFolder()
    try makeFolder("\(scratch.path)/there")
    for name in ["there", "a", "a/b/c"] {
      do {
        let folder = try OutputFolder(path: "\(scratch.path)/\(name)", files: ["x", "y"])
        try folder["x"].write([1])
      }
      #expect(scratch.names == ["there"], "\(name)")
    }
    // A file in the way of the second: nothing of the first stays.
    try makeFolder("\(scratch.path)/there/y")
    #expect(errorThrown { try OutputFolder(path: "\(scratch.path)/there", files: ["x", "y"]) }.status == .cannotCreate)
    #expect(try FileManager.default.contentsOfDirectory(atPath: "\(scratch.path)/there") == ["y"])
  }

  @Test func keepsTheModeOfWhatItReplaces() throws {
    let scratch = ScratchFolder()
    let path = try scratch.file("a", "old")
    func mode(_ name: String) -> mode_t {
      var status = stat()
      return stat("\(scratch.path)/\(name)", &status) == 0 ? status.st_mode & 0o777 : 0
    }
    for wanted: mode_t in [0o600, 0o640, 0o755] {
      chmod(path, wanted)
      try AtomicFile.write(path: path, text: "new")
      #expect(mode("a") == wanted)
    }
    let usual = umask(0o027)
    defer { umask(usual) }
    try AtomicFile.write(path: "\(scratch.path)/b", text: "new")
    #expect(mode("b") == 0o640)
  }

  @Test func followsLinksAndWritesDevices() throws {
    let scratch = ScratchFolder()
    let path = try scratch.file("real", "old")
    try FileManager.default.createSymbolicLink(atPath: "\(scratch.path)/link", withDestinationPath: path)
    try AtomicFile.write(path: "\(scratch.path)/link", text: "new")
    #expect(try scratch.bytes("real") == Array("new".utf8))
    #expect(try FileManager.default.destinationOfSymbolicLink(atPath: "\(scratch.path)/link") == path)
    // A link that leads to nothing yet, over another.
    #expect(symlink("later", "\(scratch.path)/first") == 0 && symlink("first", "\(scratch.path)/second") == 0)
    try AtomicFile.write(path: "\(scratch.path)/second", text: "made")
    #expect(try scratch.bytes("later") == Array("made".utf8))
    #expect(try FileManager.default.destinationOfSymbolicLink(atPath: "\(scratch.path)/second") == "first")
    #expect(symlink("round", "\(scratch.path)/round") == 0)
    #expect(errorThrown { try AtomicFile(path: "\(scratch.path)/round") }.status == .cannotCreate)
    try AtomicFile.write(path: "/dev/null", text: "gone")
    var status = stat()
    #expect(stat("/dev/null", &status) == 0 && status.st_mode & S_IFMT == S_IFCHR)
  }

  @Test func namesWhatCannotBeCreated() throws {
    let scratch = ScratchFolder()
    let missing = "\(scratch.path)/no/such/a"
    let error = errorThrown { try AtomicFile(path: missing) }
    #expect(error.status == .cannotCreate && error.location == .file(missing))
    #expect(errorThrown { try AtomicFile(path: scratch.path) }.status == .cannotCreate)
    let file = try scratch.file("file", "")
    #expect(errorThrown { try AtomicFile(path: "\(file)/a") }.status == .cannotCreate)
  }

  @Test func saysThatTheDeviceIsFull() throws {
    let error = errorThrown { try AtomicFile.write(path: "/dev/full", text: "x") }
    #expect(error.status == .io && error.location == .file("/dev/full"))
    #expect(error.problem.contains("no space left"))
  }

  /// Beyond RLIMIT_FSIZE a write fails as on a full disk.
  @Test func leavesNothingBehindOnAFullDisk() async {
    await #expect(processExitsWith: .exitCode(0)) {
      let scratch = ScratchFolder()
      let path = try scratch.file("a", "old")
      signal(SIGXFSZ, SIG_IGN)
      var limit = rlimit(rlim_cur: 100_000, rlim_max: 100_000)
      guard setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0 else { exit(2) }
      do throws(GoraError) {
        try AtomicFile.write(path: path, bytes: [UInt8](repeating: 1, count: 1_000_000))
        exit(3)
      } catch {
        guard error.status == .io, error.location == .file(path) else { exit(4) }
      }
      guard scratch.names == ["a"], try scratch.bytes("a") == Array("old".utf8) else { exit(5) }
      exit(0)
    }
  }

  @Test func aSignalHandlerRemovesTemporaryFiles() async {
    await #expect(processExitsWith: .exitCode(0)) {
      let scratch = ScratchFolder()
      let kept = try AtomicFile(path: "\(scratch.path)/kept")
      try kept.commit()
      let file = try AtomicFile(path: "\(scratch.path)/a")
      TemporaryFiles.forget(TemporaryFiles.register("\(scratch.path)/forgotten"))
      _ = try scratch.file("forgotten", "x")
      // Folders that lie in each other, registered as they are made.
      let folder = try OutputFolder(path: "\(scratch.path)/made/deep/deeper", files: ["x"])
      guard scratch.names.count == 4 else { exit(2) }
      TemporaryFiles.removeAll()
      withExtendedLifetime(folder) {}
      guard scratch.names == ["forgotten", "kept"] else { exit(3) }
      withExtendedLifetime(file) {}
      exit(0)
    }
  }

  @Test func makesFoldersWithTheirParents() throws {
    let scratch = ScratchFolder()
    try makeFolder("\(scratch.path)/a/b//c/")
    try makeFolder("\(scratch.path)/a/b/c")
    var isFolder: ObjCBool = false
    #expect(FileManager.default.fileExists(atPath: "\(scratch.path)/a/b/c", isDirectory: &isFolder) && isFolder.boolValue)
    let file = try scratch.file("file", "")
    #expect(errorThrown { try makeFolder("\(file)/d") }.status == .cannotCreate)
    #expect(errorThrown { try makeFolder(file) }.status == .cannotCreate)
    #expect(errorThrown { try makeFolder("") }.status == .cannotCreate)
  }

  @Test func refusesToReplaceAnInput() throws {
    let scratch = ScratchFolder()
    func path(_ name: String) -> String { "\(scratch.path)/\(name)" }
    func check(_ outputs: [String], _ inputs: [String]) throws { try checkOutputs(outputs.map(path), against: inputs.map(path)) }
    for folder in ["model", "blobs"] { try makeFolder(path(folder)) }
    for name in ["data", "other", "model/config.json", "model/README.md", "model/result.json", "blobs/1f", "blobs/2f"] {
      _ = try scratch.file(name, "x")
    }
    #expect(symlink("../blobs/1f", path("model/model.safetensors")) == 0)
    #expect(symlink("model", path("linked")) == 0)
    #expect(link(path("data"), path("hard")) == 0)
    let inputs = ["data", "model"]
    for output in [
      "data", "./data", "model/../data", "hard", "model/config.json", "linked/config.json", "model/model.safetensors", "blobs/1f",
      "model/README.md",
      // New files that readers of the folder would take for its own.
      "model/model-00001-of-00002.safetensors", "linked/tokenizer.json", "model/adapter_config.json", "model/chat_template.jinja",
    ] { #expect(errorThrown { try check(["new", output], inputs) }.status == .usage, "\(output)") }
    // Results beside a checkpoint may be written, and again; other files of other folders are no business of the check's.
    try check(["other", "new", "model/result.json", "model/grad.h5", "blobs/2f", "model/deep/config.json", "none/x"], inputs)
    try checkOutputs(["/dev/null", "/dev/null"], against: ["/dev/null", path("data")])
    // Outputs against each other.
    for outputs in [
      ["new", "new"], ["new", "./new"], ["new", "linked/../new"], ["other", "other"], ["model/new", "linked/new"],
      ["tuned/config.json", "tuned"], ["a", "a/b/c"], ["none/x", "none/./x"],
    ] { #expect(errorThrown { try check(outputs, ["data"]) }.status == .usage, "\(outputs)") }
    try check(["tuned/a", "tuned/b", "tuned-a", "linked/new", "new"], ["data"])
  }
}
