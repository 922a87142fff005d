import CLibFuzzer
import Glibc
import GoraCore
import GoraFormats

/// `gora-fuzz TARGET [libFuzzer's options] [folders and files of inputs]`: runs a parser on inputs without end; built without
/// libFuzzer it runs the given files once. `gora-fuzz --list` names the targets. Tests/fuzz/run calls it.
@main
enum Fuzz {
  nonisolated(unsafe) private static var target = Target.all[0]

  static func main() {
    let arguments = Array(CommandLine.arguments.dropFirst())
    if arguments == ["--list"] {
      for target in Target.all { print(target.name) }
      return
    }
    guard let chosen = Target.all.first(where: { $0.name == arguments.first }) else {
      fail("usage: gora-fuzz TARGET [libFuzzer's options] [inputs]; targets: \(Target.all.map(\.name).joined(separator: " "))")
    }
    target = chosen
    ThreadPool.start(threads: 1)
    var argv = ([CommandLine.arguments[0]] + arguments.dropFirst()).map { strdup($0) } + [nil]
    let status = gora_libfuzzer(Int32(argv.count - 1), &argv) { bytes, count in
      Fuzz.run(UnsafeRawBufferPointer(start: bytes, count: count))
      return 0
    }
    if status >= 0 { exit(status) }
    for path in arguments.dropFirst() where !path.hasPrefix("-") { replay(path) }
  }

  /// A refusal is an answer; a trap, a report of the sanitizer, too much time or memory is not.
  private static func run(_ bytes: UnsafeRawBufferPointer) {
    do { try target.run(bytes) } catch {}
  }

  private static func replay(_ path: String) {
    do throws(GoraError) {
      if try FileProbe(path) == .folder {
        for name in try FileProbe.names(in: path) { replay("\(path)/\(name)") }
      } else {
        try readWholeFile(path).withUnsafeBytes(run)
      }
    } catch {
      fail("\(error)")
    }
  }

  private static func fail(_ problem: String) -> Never {
    let line = Array("gora-fuzz: \(problem)\n".utf8)
    _ = write(2, line, line.count)
    exit(64)
  }
}
