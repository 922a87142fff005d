import ArgumentParser
import CGoraSignals
import Glibc
import GoraCore
import GoraFormats
import GoraStages

/// A tool of the suite: options in, exit status out.
///
/// Takes over `main` from ArgumentParser for what that does not do: messages as `tool: error: …`, the suite's exit statuses,
/// a checked standard output (`--help > /dev/full` fails), clean-up on signals.
package protocol GoraCommand: ParsableCommand {
  var common: CommonOptions { get }
  /// Whether several processes may share the work (`mpirun -n 4 gora-…`).
  static var sharesWork: Bool { get }

  /// Maps options to a stage's configuration, runs it and reports.
  func execute(_ reporter: Reporter) throws(GoraError)
}

extension GoraCommand {
  package static var sharesWork: Bool { false }
  /// The tool's name: `gora-plan`.
  package static var tool: String { configuration.commandName ?? String(describing: Self.self) }

  package static func main() {
    main(Array(CommandLine.arguments.dropFirst()))
  }

  /// Runs the tool and ends the process.
  package static func main(_ arguments: [String]?) {
    StandardStreams.reserveDescriptors()
    gora_signals_install(tool)
    Failure.prepare(tool: tool) { gora_cleanup_run() }
    let status = status(of: arguments ?? Array(CommandLine.arguments.dropFirst()))
    // What an object did not live to remove.
    TemporaryFiles.removeAll()
    if status == .success {
      ProcessGroup.leave()
    } else {
      if !ProcessGroup.isAlone { StandardStreams.drainError() }
      ProcessGroup.abort(status)
    }
    Glibc.exit(status.rawValue)
  }

  /// Shows what a stage has done: its result on standard output, if that is where it goes, and one line on standard error.
  package func finish(_ summary: StageSummary, _ reporter: Reporter) throws(GoraError) {
    if let output = summary.output { try reporter.output(output) }
    if common.json { try reporter.output(summary.json.pretty()) }
    if common.verbose > 0 { summary.details.forEach(reporter.detail) }
    if !summary.line.isEmpty { reporter.summary(summary.line) }
  }

  /// Refuses `--json` where the result itself goes to standard output.
  package func requireFileForJSON(_ output: OutputTarget) throws(GoraError) {
    if common.json, output == .standardOutput {
      throw GoraError(
        .usage, "--json prints a summary on standard output, where the result goes already", hint: "write it with -o FILE")
    }
  }

  /// A path that `-` cannot stand for.
  package func requireFile(_ path: String, _ what: String) throws(GoraError) {
    if path == "-" { throw GoraError(.usage, "\(what) cannot be read from or written to a pipe: - is not possible here") }
  }

  /// A JSON input, which may be standard input; says so where a person is expected to type it.
  package func jsonInput(_ path: String?, _ what: String, reporterHint hint: String) throws(GoraError) -> String {
    guard let path else { throw GoraError(.usage, "no \(what) given; name a file, or - for standard input", hint: hint) }
    if path == "-", StandardStreams.inputIsTerminal, !common.quiet {
      StandardStreams.writeError("\(Self.tool): reading \(what) from standard input\n")
    }
    return path
  }

  private static func status(of arguments: [String]) -> ExitStatus {
    var reporter = Reporter(tool: tool, settings: Reporter.Settings())
    let launch = ProcessLaunch()
    do {
      if sharesWork {
        try ProcessGroup.join(launch)
      } else if let size = launch.size, size > 1 {
        throw GoraError(.usage, "started as \(size) processes, and \(tool) runs as one", hint: "leave the launcher out")
      }
      reporter = Reporter(tool: tool, settings: Reporter.Settings())
      try requireUTF8()
      let command: Self
      switch parse(arguments) {
      case .command(let parsed): command = parsed
      case .text(let text):
        try reporter.output(text)
        try StandardStreams.closeOutput()
        return .success
      case .failure(let error): throw error
      }
      reporter = Reporter(tool: tool, settings: command.common.reporting)
      try command.common.check()
      let threads = try command.common.threadCount()
      FloatBuffer.mapLargeOnes()
      let running = ThreadPool.start(threads: threads)
      if running < threads {
        reporter.report(.warning("only \(running) of \(threads) threads could be started; the result is the same, but later"))
      }
      try command.execute(reporter)
      reporter.clear()
      try StandardStreams.closeOutput()
      return .success
    } catch let error as GoraError {
      report(error, reporter, launch)
      return error.status
    } catch {
      report(GoraError(.internal, String(describing: error)), reporter, launch)
      return .internal
    }
  }

  /// Says once why the run ends: most errors come up in all processes, and the first one ends the others. Where it does not, because
  /// the error is another's alone, that one speaks after a second, the lowest of them first.
  private static func report(_ error: GoraError, _ reporter: Reporter, _ launch: ProcessLaunch) {
    if ProcessGroup.isAlone {
      // Without a group nobody ends the others, and all have the same to say.
      if launch.rank == 0 { reporter.error(error) }
      return
    }
    if ProcessGroup.isFirst { return reporter.error(error) }
    usleep(UInt32(1_000_000 + 100_000 * min(ProcessGroup.rank, 30)))
    reporter.error(error, rank: ProcessGroup.rank)
  }

  /// Paths are texts here: a path that is not UTF-8 would silently become another one.
  private static func requireUTF8() throws(GoraError) {
    for i in 1..<max(1, Int(CommandLine.argc)) {
      guard let argument = CommandLine.unsafeArgv[i] else { return }
      if String(validatingCString: argument) == nil {
        throw GoraError(
          .usage, "argument \(i) is not UTF-8: \"\(String(cString: argument))\"",
          hint: "rename the file, or link to it by another name")
      }
    }
  }

  private static func parse(_ arguments: [String]) -> ParseOutcome<Self> {
    do {
      let parsed = try parseAsRoot(arguments)
      if let command = parsed as? Self { return .command(command) }
      // The parser's own commands, such as the one behind `help`.
      var other = parsed
      try other.run()
      return .text("")
    } catch {
      if exitCode(for: error).isSuccess {
        var text = fullMessage(for: error)
        if text == configuration.version, arguments.contains(where: isVerbose) { text += "\n\(Version.libraries)" }
        return .text(text.hasSuffix("\n") ? text : text + "\n")
      }
      // Lists of values come a line each.
      var problem = message(for: error).split(whereSeparator: \.isNewline).map { $0.drop { $0 == " " } }.joined(separator: " ")
      if let first = problem.first { problem = first.lowercased() + problem.dropFirst() }
      if problem.hasSuffix(".") { problem.removeLast() }
      return .failure(GoraError(.usage, problem, hint: "\(tool) --help lists the options"))
    }
  }

  private static func isVerbose(_ argument: String) -> Bool { ["-v", "-vv", "--verbose"].contains(argument) }
}

private enum ParseOutcome<Command> {
  case command(Command)
  /// Asked for with `--help`, `--version`, `--generate-completion-script`.
  case text(String)
  case failure(GoraError)
}
