import GoraCore
import GoraFormats
import GoraModels

/// `--dtype`.
package enum PrecisionChoice: String, Sendable, CaseIterable {
  case auto, f32, bf16
}

/// A checkpoint opened for computing: mapped weights and the precision chosen for them.
package struct LoadedModel {
  /// nil for a model made from a config.json alone.
  package let folder: ModelFolder?
  /// The tokenizer's and others beside the weights.
  package let files: CheckpointFiles
  package let config: any ModelConfig
  package let model: any Model
  package let precision: Precision
  /// How the linears' weights are held; nil: as they are.
  package let quantization: Quantization?
  /// Why that precision, for the start-up line.
  package let reason: String

  /// - Throws: status 71 where opening it would take more memory than `memory` allows, besides what its files throw.
  package init(
    path: String, precision choice: PrecisionChoice, quantization: Quantization? = nil,
    memory: MemoryAllowance = MemoryAllowance(), events: EventHandler = { _ in }
  ) throws(GoraError) {
    try Matmul.open()
    let folder = try ModelFolder(path: path)
    config = try ModelFamilies.config(of: folder)
    self.folder = folder
    files = folder.files
    let embedding = folder.tensor(config.embedding.name)?.dtype ?? .f32
    let stored = files.gguf == nil ? embedding : folder.dtype
    (precision, reason) = Self.choose(choice, stored: stored)
    self.quantization = quantization
    // What is not mapped as it is: linears in 4 bits, and matrices that are rounded to bf16.
    let linears = quantization == nil ? 0 : NF4Weight.byteCount(elements: config.linearWeights)
    let rounded = Self.roundedBytes(of: folder, config, for: precision, isQuantized: quantization != nil)
    try memory.require(
      linears + rounded, for: "opening the model", remedies: rounded > 0 ? ["--dtype f32"] : ["no --quantize"], events: events)
    model = try config.model(from: CheckpointSource(folder: folder, precision: precision, quantization: quantization))
  }

  /// Bytes of the matrices that are copied as they are rounded to bf16; but for linears that are quantised.
  private static func roundedBytes(
    of folder: ModelFolder, _ config: any ModelConfig, for precision: Precision, isQuantized: Bool
  ) -> Int {
    let quantized = Set(isQuantized ? config.linearModules.map { ModuleName.weight(of: $0.name) } : [])
    return folder.names.reduce(0) { sum, name in
      guard let tensor = folder.tensor(name), Parameter.isRounded(tensor, for: precision), !config.isSpare(name),
        !quantized.contains(name)
      else { return sum }
      return sum + 2 * tensor.count
    }
  }

  /// A new model with random weights, in f32.
  /// - Parameter tokenizer: the folder or file whose tokenizer is the new model's.
  init(
    config path: String, tokenizer: String, seed: UInt64, memory: MemoryAllowance, events: EventHandler
  ) throws(GoraError) {
    try Matmul.open()
    files = try CheckpointFiles(tokenizer)
    config = try ModelFamilies.config(reading: JSONDocument(path: path, text: readWholeFile(path)))
    try memory.require(4 * config.parameterCount, for: "the new model's weights", remedies: [], events: events)
    folder = nil
    quantization = nil
    (precision, reason) = (.f32, "new weights are f32")
    model = try config.model(from: RandomSource(seed: seed, initial: config.initialValues))
  }

  /// bf16 where the weights are bf16, or quantised, which costs them more than rounding to bf16 does, and the CPU multiplies bf16;
  /// else f32.
  static func choose(_ choice: PrecisionChoice, stored: DType) -> (Precision, String) {
    switch choice {
    case .f32: return (.f32, "asked for")
    case .bf16: return (.bf16, Matmul.hasBFloat16 ? "asked for" : "asked for; this CPU has no bf16 unit, so it is not faster")
    case .auto:
      if stored == .f32 { return (.f32, "weights are f32") }
      if Matmul.hasBFloat16, stored == .bf16 || stored.isQuantised {
        return (.bf16, "weights are \(stored.rawValue.lowercased()) and the CPU multiplies bf16")
      }
      return (.f32, "weights are \(stored.rawValue.lowercased()), widened: no bf16 unit is used here")
    }
  }

  /// nil for a model made from a config.json alone.
  var identity: ModelIdentity? { folder.map { ModelIdentity(of: $0, config: config) } }

  /// Says what runs, and what of the checkpoint does not.
  func announce(threads: Int, events: EventHandler) {
    events(.note(opening(threads: threads)))
    for note in config.notes { events(.warning(note)) }
    let unused = unusedTensors
    if !unused.isEmpty {
      let more = unused.count > 3 ? ", …" : ""
      events(
        .warning(
          "\(unused.count) tensor\(unused.count == 1 ? "" : "s") of the checkpoint \(unused.count == 1 ? "is" : "are") not used: "
            + unused.prefix(3).joined(separator: ", ") + more))
    }
  }

  /// Tensors that are no weights of the model, and need a word.
  private var unusedTensors: [String] {
    let used = Set(model.parameters.map(\.name))
    return (folder?.names ?? []).filter { !used.contains($0) && !config.isSpare($0) }
  }

  /// Says where rows are longer than what the model was made for.
  func warn(ofLength longest: Int, events: EventHandler) {
    guard let made = config.positionLimit, longest > made else { return }
    events(.warning("up to \(longest) positions are used, the model was made for \(made)"))
  }

  /// The line that opens a run: model, precision and its reason, library, threads.
  private func opening(threads: Int) -> String {
    "\(config.modelType), \(NumberText.count(config.parameterCount)) parameters, \(precision.rawValue) (\(reason)), "
      + (quantization.map { "linears in \($0.rawValue), " } ?? "")
      + (storedTypes.isEmpty ? "" : "linears in \(storedTypes.joined(separator: ", ")), ")
      + "\(threads) thread\(threads == 1 ? "" : "s")\(processes), \(Matmul.backendDescription)"
  }

  /// How the processes of a group lie, if there is one.
  private var processes: String {
    ProcessGroup.isAlone
      ? ""
      : " in each of \(ProcessGroup.size) processes, \(ProcessGroup.ranksOnThisMachine) on this machine (\(AllowedCPUs.pinning))"
  }

  /// In what numbers a run computed, for its record, with the types of quantised linears: `bf16`, `bf16+nf4`, `f32+q4_k+q6_k`.
  var dtype: String { ([precision.rawValue] + (quantization.map { [$0.rawValue] } ?? storedTypes)).joined(separator: "+") }

  /// The quantised types that a GGUF file has of the linears.
  private var storedTypes: [String] {
    let types = Set(model.linears.compactMap { folder?.tensor($0.weight.name)?.dtype })
    return DType.allCases.filter { $0.isQuantised && types.contains($0) }.map { $0.rawValue.lowercased() }
  }

  /// The linears of these module paths, first layer first.
  func linears(_ names: [String]) -> [Linear] {
    let chosen = Set(names)
    return model.linears.filter { chosen.contains($0.name) }
  }

  /// Tokens that may run through the model together when the user does not say: about 1 GiB of activations kept for backward,
  /// 512 to 8192. A function of the model alone, so that results do not depend on the machine's memory.
  var defaultMicroBatchTokens: Int {
    max(512, min(8192, (1 << 30) / max(1, model.activationBytesPerToken)))
  }
}
