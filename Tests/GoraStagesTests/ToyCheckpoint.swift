import Glibc
import GoraCore
import GoraFormats
import GoraModels
import GoraMethods
import GoraStages

/// A two-layer checkpoint with random weights and gradients in a scratch folder that goes with it.
final class ToyCheckpoint {
  let folder: String
  let context: RunContext
  let shapes: [(name: String, rows: Int, columns: Int)]
  private let seed: UInt64
  private let dtype: DType

  var model: String { "\(folder)/model" }
  var gradients: String { "\(folder)/grad.h5" }

  init(seed: UInt64 = 0, dtype: DType = .f32, recordsProvenance: Bool = false) throws {
    var template = Array("\(getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp")/gora-test.XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw GoraError(.cannotCreate, "no scratch folder") }
    folder = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    self.seed = seed
    self.dtype = dtype
    context = RunContext(
      tool: "gora-test", version: "0", arguments: [], seed: 0, threads: 1, recordsProvenance: recordsProvenance)
    let kinds = [("mlp.down_proj", 24, 60), ("self_attn.q_proj", 24, 24), ("self_attn.v_proj", 16, 24)]
    shapes = (0..<2).flatMap { layer in kinds.map { ("model.layers.\(layer).\($0.0)", $0.1, $0.2) } }

    try makeFolder(model)
    try AtomicFile.write(path: "\(model)/config.json", text: "{\"model_type\": \"llama\"}\n")
    try AtomicFile.write(path: "\(model)/tokenizer.json", text: "{\"version\": \"1.0\"}\n")
    let file = try AtomicFile(path: "\(model)/model.safetensors")
    let entries = (shapes + [("model.embed_tokens", 7, 24)]).map {
      SafetensorsWriter.Entry(name: "\($0.0).weight", dtype: dtype, shape: [$0.1, $0.2])
    }
    try SafetensorsWriter.write(to: file, entries: entries, metadata: [("format", "pt")]) { entry, append throws(GoraError) in
      let values = random(entry.name, entry.shape[0] * entry.shape[1], scale: 0.1)
      let bytes: [UInt8] =
        switch dtype {
        case .bf16: values.map { BFloat16($0).bitPattern }.withUnsafeBytes { Array($0) }
        case .f16: values.map { Float16($0) }.withUnsafeBytes { Array($0) }
        default: values.withUnsafeBytes { Array($0) }
        }
      try bytes.withUnsafeBytes { bytes -> Result<Void, GoraError> in
        do throws(GoraError) { return .success(try append(bytes)) } catch { return .failure(error) }
      }.get()
    }
    try file.commit()
    let writer = try GradientFileWriter(
      path: gradients, compression: .none, storesBFloat16: false,
      attributes: [("model", try ModelIdentity(of: ModelFolder(path: model)).text)])
    for shape in shapes {
      let values = gradient(shape.name)
      try values.withUnsafeBufferPointer { buffer -> Result<Void, GoraError> in
        guard let start = buffer.baseAddress else { return .success(()) }
        do throws(GoraError) {
          return .success(
            try writer.write(
              name: "\(shape.name).weight", rows: shape.rows, columns: shape.columns, values: start, samples: 1, tokens: 1))
        } catch { return .failure(error) }
      }.get()
    }
    try writer.write(steps: GradientSteps(loss: [1], tokens: [1], rows: [1], importance: []))
    try writer.finish()
  }

  deinit {
    for name in ["model", "init", "one", "two", "out", "merged", "config-only", "refused"] { remove(folder: "\(folder)/\(name)") }
    remove(folder: folder)
  }

  private func remove(folder: String) {
    guard let entries = opendir(folder) else { return }
    while let entry = readdir(entries) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      unlink("\(folder)/\(name)")
    }
    closedir(entries)
    rmdir(folder)
  }

  private func random(_ stream: String, _ count: Int, scale: Double) -> [Float] {
    var random = Random(seed: seed, stream: stream)
    return (0..<count).map { _ in Float(scale * random.normal()) }
  }

  /// The weight of a module as it was before rounding to the checkpoint's dtype.
  func weight(_ module: String) -> [Float] {
    let shape = shapes.first { $0.name == module }
    return random("\(module).weight", (shape?.rows ?? 0) * (shape?.columns ?? 0), scale: 0.1)
  }

  /// Gradients of different sizes, so that ranks differ.
  func gradient(_ module: String) -> [Float] {
    let index = shapes.firstIndex { $0.name == module } ?? 0
    return random("\(module) gradient", shapes[index].rows * shapes[index].columns, scale: 1e-3 * Double(1 + index % 3))
  }

  func document(_ text: String) throws -> JSONField { try JSONDocument(path: "test", text: Array(text.utf8)).root }

  func score(metric: ImportanceMetric) throws -> StageSummary { try score(MetricBlend(metric)) }

  func score(_ metric: MetricBlend, _ advantage: Advantage = Advantage()) throws -> StageSummary {
    try ScoreStage(
      ScoreStage.Configuration(
        model: model, gradients: gradients, metric: metric, advantage: advantage, output: .standardOutput, dryRun: false,
        context: context)
    ).run { _ in }
  }

  func plan() -> RankPlan {
    RankPlan(
      referenceRank: 4, minRank: 2, maxRank: 16, alpha: 16, scaling: .rslora,
      modules: shapes.enumerated().map { RankPlan.Module(name: $1.name, shape: [$1.rows, $1.columns], rank: 2 + $0) })
  }

  func adapter(
    start: any AdapterStart, gradients: String?? = .none, plan: RankPlan? = nil, folder name: String = "init"
  ) throws -> Adapter {
    let path = "\(folder)/plan.json"
    try AtomicFile.write(path: path, text: (plan ?? self.plan()).json.pretty())
    let gradients: String? = if let given = gradients { given } else { self.gradients }
    _ = try InitStage(
      InitStage.Configuration(
        plan: path, model: model, gradients: gradients, output: "\(folder)/\(name)", start: start, dryRun: false,
        context: context)
    ).run { _ in }
    return try Adapter(readingFolder: "\(folder)/\(name)")
  }

  /// s·B·A of a module, by the definition.
  func update(_ module: AdapterModule) -> [Double] {
    let (rows, columns, rank) = (module.shape[0], module.shape[1], module.rank)
    var out = [Double](repeating: 0, count: rows * columns)
    for i in 0..<rows {
      for k in 0..<rank {
        let b = module.scaling * Double(module.b[i * rank + k])
        for j in 0..<columns { out[i * columns + j] += b * Double(module.a[k * columns + j]) }
      }
    }
    return out
  }
}
