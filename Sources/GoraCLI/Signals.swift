#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// How the tools meet signals.
enum Signals {
  static func install() {
    // Beyond `ulimit -f` a write fails with EFBIG (status 74) instead of killing us before the clean-up.
    signal(SIGXFSZ, SIG_IGN)
  }
}
