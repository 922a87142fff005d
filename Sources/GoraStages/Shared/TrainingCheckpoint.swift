import GoraCore
import GoraFormats
import GoraTraining

/// `tuned/checkpoint/state.safetensors`: trained values, both moments, the step, and what run they belong to.
///
/// One file, renamed into place: a killed run finds the last whole one.
struct TrainingCheckpoint {
  /// Below the output folder.
  static let folder = "checkpoint"
  static let name = "state.safetensors"
  private let path: String
  private let identity: [(key: String, value: String)]
  /// The trials of rates before the run, as `TrialRecord` has them; empty: there were none.
  var trials = ""
  /// What `LossWatch` has seen of the losses; empty: nobody watched.
  var losses = ""
  /// What chat templates took for the present; nil where none asked.
  private let date: Int?

  /// - Parameters:
  ///   - folder: the run's output.
  ///   - identity: settings and inputs that decide the run's bytes, in order.
  ///   - date: what chat templates took for the present; nil where none asked.
  /// - Throws: status 73 where another run is writing it.
  init(folder: String, identity: [(key: String, value: String)], date: Int? = nil) throws(GoraError) {
    path = Self.path(in: folder)
    self.date = date
    self.identity = identity
    if ProcessGroup.isFirst { try AtomicFile.removeLeftovers(of: path) }
  }

  static func path(in output: String) -> String { "\(output)/\(folder)/\(name)" }

  /// - Throws: status 1 where the last update left the range of numbers: the checkpoint before it stays.
  func save(_ optimizer: any Optimizer, _ validation: ValidationRecord, isEnded: Bool = false) throws(GoraError) {
    try optimizer.requireFinite()
    let tensors = (optimizer.state + validation.state).map { tensor in
      SafetensorsWriter.Tensor(
        name: tensor.name, dtype: .f32, shape: tensor.shape,
        bytes: UnsafeRawBufferPointer(start: tensor.buffer.pointer, count: tensor.count * 4))
    }
    var metadata = [
      ("format", Saved.format), ("format_version", Saved.formatVersion), ("step", String(optimizer.step)), ("run", description),
    ]
    if !validation.description.isEmpty { metadata.append(("validation", validation.description)) }
    if !trials.isEmpty { metadata.append(("trials", trials)) }
    if !losses.isEmpty { metadata.append(("losses", losses)) }
    if let date { metadata.append(("date", String(date))) }
    if isEnded { metadata.append(("ended", "early")) }
    try SafetensorsWriter.write(path: path, tensors: tensors, metadata: metadata)
  }

  private var description: String { identity.map { "\($0.key)=\($0.value)" }.joined(separator: "\n") }

  private struct Saved {
    var file: SafetensorsFile
    var step: Int
    var run: String
    var validation: String
    var trials: String
    var losses: String
    var date: Int?
    /// Whether the run ended before its last step, and not for want of time.
    var isEnded: Bool

    static let format = "gora-checkpoint"
    /// Another wherever what a run's identity says has changed, or what bytes it makes of it.
    static let formatVersion = "4"

    /// - Throws: exit 65 where the file is no checkpoint of this version.
    init(path: String) throws(GoraError) {
      let file = try SafetensorsFile(path: path)
      func metadata(_ key: String) -> String? { file.metadata.first { $0.key == key }?.value }
      guard metadata("format") == Self.format, let version = metadata("format_version") else {
        throw GoraError(.data, at: .file(path), "not a checkpoint of gora-train", hint: "to begin anew remove that file")
      }
      guard version == Self.formatVersion else {
        throw GoraError(
          .data, at: .file(path), "a checkpoint of format \(version); this gora-train goes on from format \(Self.formatVersion)",
          hint: "end that run with the gora-train that began it, or begin anew: remove that file")
      }
      guard let step = metadata("step").flatMap({ Int($0) }), step >= 0, let run = metadata("run") else {
        throw GoraError(.data, at: .file(path), "no step or no run in the checkpoint", hint: "to begin anew remove that file")
      }
      (self.file, self.step, self.run) = (file, step, run)
      validation = metadata("validation") ?? ""
      trials = metadata("trials") ?? ""
      losses = metadata("losses") ?? ""
      date = metadata("date").flatMap { Int($0) }
      isEnded = metadata("ended") != nil
    }

    /// Of the whole run; nil where the checkpoint does not say.
    var steps: Int? { run.split(separator: "\n").first { $0.hasPrefix("steps=") }.flatMap { Int($0.dropFirst(6)) } }
  }

  /// What chat templates took for the present in a run that can go on; nil where there is none, or where they did not ask.
  static func date(in output: String) throws(GoraError) -> Int? {
    let path = path(in: output)
    return exists(path) ? try Saved(path: path).date : nil
  }

  /// Refuses to begin anew over a run that can go on.
  /// - Throws: exit 73 where the output holds the checkpoint of a run that has not ended, 65 where it is damaged or of another
  ///   version, which may be one.
  static func requireNoneUnfinished(in output: String) throws(GoraError) {
    let path = path(in: output)
    guard exists(path) else { return }
    let saved = try Saved(path: path)
    guard let steps = saved.steps, saved.step < steps, !saved.isEnded else { return }
    throw GoraError(
      .cannotCreate, at: .file(path), "a run stopped here after step \(saved.step) of \(steps)",
      hint: "--resume goes on from it; to begin anew remove that file")
  }

  /// What to do about a setting that the run had.
  private static func hint(_ setting: Substring) -> String {
    let parts = setting.split(separator: "=", maxSplits: 1)
    return switch parts.first {
    case "threads": "go on with --threads \(parts.last ?? ""): sums, and with them the result's bytes, depend on it"
    case "products":
      "go on where these products are to be had: the result's bytes depend on them; or remove that file to begin anew"
    default: "repeat the first run's options, or remove that file to begin anew"
    }
  }

  /// Where a run stopped, the trials that it made before its first step, and what `LossWatch` had seen.
  typealias Progress = (step: Int, trials: String, losses: String)

  /// Where the saved run stands; nil where there is no checkpoint.
  /// - Throws: exit 65 where the checkpoint is of another run.
  func progress() throws(GoraError) -> Progress? {
    guard exists(path) else { return nil }
    let saved = try Saved(path: path)
    try requireSameRun(saved)
    return (saved.step, saved.trials, saved.losses)
  }

  /// - Throws: exit 65, naming what differs.
  private func requireSameRun(_ saved: Saved) throws(GoraError) {
    if saved.run == description { return }
    let theirs = saved.run.split(separator: "\n", omittingEmptySubsequences: false)
    let ours = description.split(separator: "\n", omittingEmptySubsequences: false)
    let (was, now) = zip(theirs, ours).first { $0 != $1 } ?? ("\(theirs.count) settings", "\(ours.count) settings")
    throw GoraError(
      .data, at: .file(path), "the checkpoint is of another run: \(was) there, \(now) now",
      hint: Self.hint(was))
  }

  /// Puts the saved state back.
  /// - Returns: false where there is no checkpoint: the run starts from its beginning.
  /// - Throws: exit 65 where the checkpoint is of another run, naming what differs, or its numbers are none of a run.
  func restore(_ optimizer: any Optimizer, _ validation: ValidationRecord) throws(GoraError) -> Bool {
    guard exists(path) else { return false }
    let saved = try Saved(path: path)
    let (file, step) = (saved.file, saved.step)
    try requireSameRun(saved)
    guard step <= saved.steps ?? step else {
      throw GoraError(.data, at: .file(path), "step \(step) of a run of \(saved.steps ?? 0)")
    }
    guard validation.restore(saved.validation) else {
      throw GoraError(.data, at: .file(path), "\"validation\" of the metadata is none of a run")
    }
    for part in optimizer.state + validation.state {
      guard let tensor = file.tensor(part.name), tensor.dtype == .f32, tensor.shape == part.shape else {
        throw GoraError(.data, at: .object(path, name: " tensor \"\(part.name)\""), "missing, or of another shape")
      }
      UnsafeMutableRawPointer(part.buffer.pointer).copyMemory(from: tensor.bytes.baseAddress!, byteCount: tensor.bytes.count)
      if part.isNonNegative, (0..<part.count).contains(where: { part.buffer.pointer[$0] < 0 }) {
        throw GoraError(.data, at: tensor.location, "a number that is never below 0 is negative")
      }
    }
    guard optimizer.isFinite, validation.state.allSatisfy(\.isFinite) else {
      throw GoraError(.data, at: .file(path), "a number is not finite")
    }
    withExtendedLifetime(file) {}
    optimizer.step = step
    return true
  }
}
