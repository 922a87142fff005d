import ArgumentParser
import Glibc
import GoraCore
import GoraStages

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

  /// Beyond this a count is a slip of the hand.
  private static let threadRange = 1...1024

  /// `--threads`, else `GORA_THREADS`, else the CPUs this process may use.
  /// - Throws: status 64 for a count out of range or a malformed variable.
  package func threadCount() throws(GoraError) -> Int {
    let range = Self.threadRange
    if let threads {
      guard range ~= threads else {
        throw GoraError(.usage, "--threads is \(threads); expected \(range.lowerBound) to \(range.upperBound)")
      }
      return threads
    }
    if let text = Self.environment("GORA_THREADS") {
      guard let count = Int(text), range ~= count else {
        throw GoraError(
          .usage, "environment variable GORA_THREADS is \"\(text)\"; expected \(range.lowerBound) to \(range.upperBound)")
      }
      return count
    }
    return min(AllowedCPUs.count, range.upperBound)
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
