import Glibc
import GoraCore
import GoraStages

/// Shows what a stage tells, on standard error: one redrawn line on a terminal, plain lines elsewhere.
package final class Reporter {
  /// What the command line says about talking.
  package struct Settings {
    package var quiet = false
    package var verbosity = 0
    /// Says and writes nothing but errors: another process of the group does.
    package var isMute = !ProcessGroup.isFirst
    package var progress = Visibility.auto
    package var color = Visibility.auto

    package init() {}

    /// Whether escape sequences may be sent to standard error.
    var usesColor: Bool { color == .auto ? StandardStreams.errorIsTerminal && allowsColor : allowsColor }

    /// Whether escape sequences may be sent to a terminal.
    package var allowsColor: Bool {
      switch color {
      case .always: true
      case .never: false
      case .auto: CommonOptions.environment("NO_COLOR") == nil && CommonOptions.environment("TERM") != "dumb"
      }
    }
  }

  private enum Form { case redrawn, plain, none }

  private let tool: String
  private let isMute: Bool
  private let quiet: Bool
  private let verbosity: Int
  private let eager: Bool
  private let form: Form
  private let colored: Bool

  private var stage = ""
  private var stageStart = 0.0
  private var firstDone = 0
  private var lastShown = 0.0
  private var lastDone = 0
  private var lineIsOpen = false

  package init(tool: String, settings: Settings) {
    self.tool = tool
    isMute = settings.isMute
    quiet = settings.quiet || isMute
    verbosity = settings.verbosity
    eager = settings.progress == .always
    form = quiet || settings.progress == .never ? .none : StandardStreams.errorIsTerminal ? .redrawn : .plain
    colored = settings.usesColor
    lastShown = Self.now()
  }

  package func report(_ event: StageEvent) {
    switch event {
    case .progress(let stage, let done, let total, let unit, let rate, let loss, let state):
      progress(stage: stage, done: done, total: total, unit: unit, rate: rate, loss: loss, state: state)
    case .information(let text): summary(text)
    case .note(let text): note(text)
    case .warning(let text):
      if !quiet { line(text, colored ? "\u{1B}[33mwarning:\u{1B}[0m " : "warning: ") }
    }
  }

  /// A line for `-v`.
  package func note(_ text: String) {
    if verbosity > 0, !isMute { line(text, "note: ") }
  }

  /// A line of a table that `-v` asked for, without the tool's name.
  package func detail(_ text: String) {
    if isMute { return }
    clear()
    StandardStreams.writeError(text.escapingControls + "\n")
  }

  /// A result, on standard output.
  /// - Throws: status 74 where it cannot be written whole.
  package func output(_ text: String) throws(GoraError) {
    if isMute { return }
    clear()
    try StandardStreams.writeOutput(text)
  }

  /// A line of its own, such as that of success.
  package func summary(_ text: String) {
    if !quiet { line(text) }
  }

  /// `gora-plan: error: <place>: <problem>`, then `gora-plan: hint: …`.
  ///
  /// - Parameter rank: of the process, where it is one of several and not the first.
  package func error(_ error: GoraError, rank: Int? = nil) {
    let process = rank.map { "process \($0): " } ?? ""
    line(process + error.description, colored ? "\u{1B}[31merror:\u{1B}[0m " : "error: ")
    if let hint = error.hint { line(hint, "hint: ") }
    if error.status == .internal { line("this is a defect of gora; please report it with the line above", "hint: ") }
  }

  /// Wipes the redrawn line, so that other text starts clean.
  package func clear() {
    if lineIsOpen { StandardStreams.writeError("\r\u{1B}[K") }
    lineIsOpen = false
  }

  /// One line, whatever names and values are in it.
  private func line(_ text: String, _ kind: String = "") {
    clear()
    StandardStreams.writeError("\(tool): \(kind)\(text.escapingControls)\n")
  }

  private func progress(stage: String, done: Int, total: Int?, unit: String, rate: StageRate?, loss: Double?, state: String?) {
    let time = Self.now()
    let isNew = stage != self.stage || done < lastDone
    if isNew {
      self.stage = stage
      stageStart = time
      firstDone = done
    }
    // `done == 0` is a stage's first sign of life.
    guard form != .none, isNew && (done == 0 || eager) || isDue(done: done, total: total, time: time) else { return }
    lastShown = time
    lastDone = done
    var text = "\(stage) \(done)" + (total.map { "/\($0)" } ?? "") + " \(unit)"
    let count = done - firstDone
    let elapsed = time - stageStart
    if count > 0, elapsed > 0.5 {
      let speed = Double(count) / elapsed
      if let rate {
        text += ", \(NumberText.scaled(rate.value)) \(rate.unit)"
      } else if speed >= 1 {
        text += ", \(NumberText.significant(speed)) \(unit)/s"
      } else {
        text += ", \(NumberText.significant(1 / speed)) s each"
      }
      if let total, total > done { text += ", \(NumberText.duration(Double(total - done) / speed)) left" }
    }
    if let loss { text += ", loss \(NumberText.fixed(loss, 4))" }
    if let state { text += ", \(state)" }
    if form == .redrawn {
      StandardStreams.writeError("\r\(tool): \(text.escapingControls)\u{1B}[K")
      lineIsOpen = true
    } else {
      line(text)
    }
  }

  /// On a terminal ten times a second; elsewhere after 30 s, or 5 % but not within a second.
  private func isDue(done: Int, total: Int?, time: Double) -> Bool {
    let since = time - lastShown
    if form == .redrawn { return since >= 0.1 || done == total }
    if since >= 30 { return true }
    guard let total, since >= 1 else { return false }
    return (done - lastDone) * 20 >= total
  }

  private static func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }
}
