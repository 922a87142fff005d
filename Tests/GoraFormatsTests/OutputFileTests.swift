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
      #expect(scratch.names == [".a.\(getpid()).tmp", "a"])
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

  @Test func followsLinksAndWritesDevices() throws {
    let scratch = ScratchFolder()
    let path = try scratch.file("real", "old")
    try FileManager.default.createSymbolicLink(atPath: "\(scratch.path)/link", withDestinationPath: path)
    try AtomicFile.write(path: "\(scratch.path)/link", text: "new")
    #expect(try scratch.bytes("real") == Array("new".utf8))
    #expect(try FileManager.default.destinationOfSymbolicLink(atPath: "\(scratch.path)/link") == path)
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
      TemporaryFiles.prepare()
      let kept = try AtomicFile(path: "\(scratch.path)/kept")
      try kept.commit()
      let file = try AtomicFile(path: "\(scratch.path)/a")
      TemporaryFiles.register("\(scratch.path)/forgotten")
      TemporaryFiles.forget("\(scratch.path)/forgotten")
      _ = try scratch.file("forgotten", "x")
      guard scratch.names.count == 3 else { exit(2) }
      TemporaryFiles.unlinkAll()
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
    let path = try scratch.file("a", "x")
    let other = try scratch.file("b", "x")
    try FileManager.default.linkItem(atPath: path, toPath: "\(scratch.path)/hard")
    #expect(errorThrown { try refuseOverwrite(of: [other, path], output: "\(scratch.path)/hard") }.status == .usage)
    try refuseOverwrite(of: [other], output: path)
    try refuseOverwrite(of: [path], output: "\(scratch.path)/new")
    try refuseOverwrite(of: ["/dev/null"], output: "/dev/null")
  }
}
