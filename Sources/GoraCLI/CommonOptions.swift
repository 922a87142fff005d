import ArgumentParser
import GoraCore

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// When something is shown.
package enum Visibility: String, CaseIterable, ExpressibleByArgument, Sendable {
  case auto, always, never
}

/// The options every tool has, listed last in `--help`, with the same meaning everywhere.
package struct CommonOptions: ParsableArguments {
  @Option(name: .shortAndLong, help: ArgumentHelp("Compute threads (default: the allowed CPUs).", valueName: "n"))
  package var threads: Int?

  @Option(help: ArgumentHelp("Seed of all random numbers.", valueName: "n"))
  package var seed: UInt64 = 0

  @Flag(name: .shortAndLong, help: "Print errors only.")
  package var quiet = false

  @Flag(name: .shortAndLong, help: "Print more; may be repeated.")
  package var verbose: Int

  @Option(help: ArgumentHelp("Progress.", valueName: "when"))
  package var progress: Visibility = .auto

  @Option(help: ArgumentHelp("Colour.", valueName: "when"))
  package var color: Visibility = .auto

  @Flag(help: "Print the summary as JSON on standard output.")
  package var json = false

  @Flag(name: [.customShort("n"), .long], help: "Check inputs, say what would be done, write nothing.")
  package var dryRun = false

  @Flag(name: .customLong("no-provenance"), help: "Leave out the record of command and inputs.")
  package var omitsProvenance = false

  package init() {}

  /// `--threads`, else `GORA_THREADS`, else the CPUs this process may run on.
  /// - Throws: status 64 for a count below 1 or a malformed variable, and for `-q` with `-v`.
  package func threadCount() throws(GoraError) -> Int {
    if let threads {
      guard threads > 0 else { throw GoraError(.usage, "--threads is \(threads); expected at least 1") }
      return threads
    }
    if let text = Self.environment("GORA_THREADS") {
      guard let count = Int(text), count > 0 else {
        throw GoraError(.usage, "environment variable GORA_THREADS is \"\(text)\"; expected a number from 1")
      }
      return count
    }
    return Self.allowedCPUs
  }

  /// CPUs in the affinity mask (`Cpus_allowed` of /proc/self/status: sched_getaffinity's macros do not reach Swift).
  private static var allowedCPUs: Int {
    let key = "Cpus_allowed:"
    if let file = fopen("/proc/self/status", "r") {
      defer { fclose(file) }
      var line = [CChar](repeating: 0, count: 4096)
      while fgets(&line, Int32(line.count), file) != nil {
        let text = String(decoding: line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        guard text.hasPrefix(key) else { continue }
        let count = text.dropFirst(key.count).reduce(0) { $0 + ($1.hexDigitValue?.nonzeroBitCount ?? 0) }
        if count > 0 { return count }
      }
    }
    return max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
  }

  func check() throws(GoraError) {
    if quiet, verbose > 0 { throw GoraError(.usage, "--quiet and --verbose exclude each other") }
    _ = try threadCount()
  }

  package var reporting: Reporter.Settings {
    var settings = Reporter.Settings()
    settings.quiet = quiet
    settings.verbosity = verbose
    settings.progress = progress
    settings.color = color
    return settings
  }

  /// Whether the locale's characters are UTF-8.
  package static var localeIsUTF8: Bool {
    let locale = environment("LC_ALL") ?? environment("LC_CTYPE") ?? environment("LANG") ?? ""
    let name = locale.lowercased()
    return name.contains("utf-8") || name.contains("utf8")
  }

  /// The variable's value; nil where unset or empty.
  package static func environment(_ name: String) -> String? {
    guard let value = getenv(name), value.pointee != 0 else { return nil }
    return String(cString: value)
  }
}
