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

  /// - Parameters:
  ///   - folder: the run's output.
  ///   - identity: settings and inputs that decide the run's bytes, in order.
  /// - Throws: status 73 where another run is writing it.
  init(folder: String, identity: [(key: String, value: String)]) throws(GoraError) {
    path = "\(folder)/\(Self.folder)/\(Self.name)"
    self.identity = identity
    try AtomicFile.removeLeftovers(of: path)
  }

  private static let parts = ["value", "first_moment", "second_moment"]

  private func buffers(_ entry: AdamW.Entry) -> [FloatBuffer] {
    [entry.parameter.values, entry.first, entry.second].compactMap { $0 }
  }

  func save(_ optimizer: AdamW) throws(GoraError) {
    var tensors: [SafetensorsWriter.Tensor] = []
    for entry in optimizer.entries {
      for (part, buffer) in zip(Self.parts, buffers(entry)) {
        tensors.append(
          SafetensorsWriter.Tensor(
            name: "\(part)/\(entry.parameter.name)", dtype: .f32, shape: entry.parameter.shape,
            bytes: UnsafeRawBufferPointer(start: buffer.pointer, count: entry.parameter.count * 4)))
      }
    }
    let metadata = [
      ("format", "gora-checkpoint"), ("format_version", "1"), ("step", String(optimizer.step)), ("run", description),
    ]
    try SafetensorsWriter.write(path: path, tensors: tensors, metadata: metadata)
  }

  private var description: String { identity.map { "\($0.key)=\($0.value)" }.joined(separator: "\n") }

  /// Puts the saved state back.
  /// - Returns: false where there is no checkpoint: the run starts from its beginning.
  /// - Throws: exit 65 where the checkpoint is of another run, naming what differs.
  func restore(_ optimizer: AdamW) throws(GoraError) -> Bool {
    guard exists(path) else { return false }
    let file = try SafetensorsFile(path: path)
    func metadata(_ key: String) -> String? { file.metadata.first { $0.key == key }?.value }
    guard metadata("format") == "gora-checkpoint", metadata("format_version") == "1",
      let step = metadata("step").flatMap({ Int($0) }), step >= 0, let run = metadata("run")
    else { throw GoraError(.data, at: .file(path), "not a checkpoint of gora-train") }
    if run != description {
      let theirs = run.split(separator: "\n", omittingEmptySubsequences: false)
      let ours = description.split(separator: "\n", omittingEmptySubsequences: false)
      let (was, now) = zip(theirs, ours).first { $0 != $1 } ?? ("\(theirs.count) settings", "\(ours.count) settings")
      throw GoraError(
        .data, at: .file(path), "the checkpoint is of another run: \(was) there, \(now) now",
        hint: "repeat the first run's options, or train without --resume")
    }
    for entry in optimizer.entries {
      for (part, buffer) in zip(Self.parts, buffers(entry)) {
        let name = "\(part)/\(entry.parameter.name)"
        guard let tensor = file.tensor(name), tensor.dtype == .f32, tensor.shape == entry.parameter.shape else {
          throw GoraError(.data, at: .object(path, name: " tensor \"\(name)\""), "missing, or of another shape")
        }
        UnsafeMutableRawPointer(buffer.pointer).copyMemory(from: tensor.bytes.baseAddress!, byteCount: tensor.bytes.count)
      }
    }
    withExtendedLifetime(file) {}
    optimizer.step = step
    return true
  }
}
