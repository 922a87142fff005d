import GoraCore
import GoraFormats

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What the tools do on SIGINT, SIGTERM and SIGHUP, and when they crash: remove half-written files, then die by the same signal
/// (128 + n).
enum Signals {
  static func install(tool: String) {
    TemporaryFiles.prepare()
    Failure.prepare(tool: tool) { TemporaryFiles.unlinkAll() }
    for number in [SIGINT, SIGTERM, SIGHUP] {
      var action = sigaction()
      // nohup and background shells have a signal ignored on purpose.
      if sigaction(number, nil, &action) == 0, isIgnored(action) { continue }
      signal(number) { number in
        // Only async-signal-safe calls here.
        TemporaryFiles.unlinkAll()
        signal(number, SIG_DFL)
        raise(number)
      }
    }
    // Beyond `ulimit -f` a write fails with EFBIG (status 74) instead of killing us before the clean-up.
    signal(SIGXFSZ, SIG_IGN)
  }

  private static func isIgnored(_ action: sigaction) -> Bool {
    unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self)
  }
}
