import Glibc
import GoraCore

/// A shell's command as a filter: bytes in, bytes out, its messages where ours go.
enum Filter {
  /// - Parameter limit: most bytes that it may say.
  /// - Throws: status 74 where it cannot be started or read.
  static func run(_ command: String, input: [UInt8], limit: Int) throws(GoraError) -> (output: [UInt8], status: Int32) {
    // A file, so that it may be read as fast as the command likes, or not at all.
    let text = try UnnamedFile(input).descriptor
    defer { close(text) }
    let pipe = try ClosingPipe()
    defer { close(pipe.read) }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, text, 0)
    posix_spawn_file_actions_adddup2(&actions, pipe.write, 1)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    var argv: [UnsafeMutablePointer<CChar>?] = ["/bin/sh", "-c", command].map { (word: String) in strdup(word) } + [nil]
    defer { for pointer in argv { free(pointer) } }
    var pid: pid_t = 0
    let status = posix_spawn(&pid, "/bin/sh", &actions, &attributes, &argv, environ)
    close(pipe.write)
    guard status == 0 else { throw GoraError(.io, "cannot start \"\(command)\": \(String(cString: strerror(status)))") }
    var output: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while output.count <= limit {
      let count = read(pipe.read, &buffer, buffer.count)
      if count == 0 { break }
      if count < 0, errno != EINTR { break }
      if count > 0 { output += buffer[..<count] }
    }
    if output.count > limit { kill(pid, SIGKILL) }
    var ended: Int32 = 0
    while waitpid(pid, &ended, 0) < 0, errno == EINTR {}
    if output.count > limit { throw GoraError(.data, "\"\(command)\" says more than \(limit) bytes, the limit") }
    return (output, ended & 0x7F == 0 ? ended >> 8 & 0xFF : 128 + ended & 0x7F)
  }
}
