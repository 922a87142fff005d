import Glibc
import GoraCore
import GoraFormats

/// A reader of bytes from outside. Any bytes must end in a value or in a thrown error, soon and in little memory; where a value comes
/// out, what is said of it must hold too.
struct Target: Sendable {
  let name: String
  let run: @Sendable (_ bytes: UnsafeRawBufferPointer) throws -> Void

  init(_ name: String, _ run: @escaping @Sendable (_ bytes: UnsafeRawBufferPointer) throws -> Void) {
    self.name = name
    self.run = run
  }
}

/// A property that does not hold: found as a crash is.
func require(_ holds: @autoclosure () throws -> Bool, _ property: StaticString) rethrows {
  let holds = try holds()
  precondition(holds, "\(property)")
}

/// A folder of this process for readers that want a path.
enum Scratch {
  static let folder: String = {
    var template = Array("/tmp/fuzz-XXXXXX".utf8CString)
    if access("/dev/shm", W_OK) == 0 { template = Array("/dev/shm/fuzz-XXXXXX".utf8CString) }
    guard mkdtemp(&template) != nil else { fatalError("no folder for scratch files") }
    let path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    atexit { Scratch.remove() }
    return path
  }()

  static func remove() {
    for name in (try? FileProbe.names(in: folder)) ?? [] { unlink("\(folder)/\(name)") }
    rmdir(folder)
  }

  /// Writes a file of the folder and returns its path.
  static func file(_ name: String, _ bytes: some Collection<UInt8>) -> String {
    let path = "\(folder)/\(name)"
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    let written = Array(bytes).withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    close(descriptor)
    require(written == bytes.count, "a scratch file was written whole")
    return path
  }
}
