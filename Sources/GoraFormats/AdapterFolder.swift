import Glibc
import GoraCore

/// The factors of one linear module, of LoRA ΔW = scaling·B·A.
package struct AdapterModule: Sendable, Equatable {
  /// Module path in the base model, without `base_model.model.`.
  package var name: String
  package var rank: Int
  package var alpha: Double
  /// The factor s itself, whatever rule made it.
  package var scaling: Double
  /// s with which it was trained, where B here has it multiplied in.
  package var nativeScaling: Double?
  /// [out, in] of the weight.
  package var shape: [Int]
  /// `lora_A.weight` [rank, in], row-major.
  package var a: [Float]
  /// `lora_B.weight` [out, rank], row-major.
  package var b: [Float]
  /// What the adapter's kind has besides, such as DoRA's magnitudes; nil for plain LoRA.
  package var vector: [Float]?
  /// How many of the components, the last ones, stay as they are in training.
  package var frozenRank = 0

  /// - Precondition: the factors have the sizes that rank and shape say.
  package init(name: String, rank: Int, alpha: Double, scaling: Double, shape: [Int], a: [Float], b: [Float]) {
    precondition(shape.count == 2 && a.count == rank * shape[1] && b.count == shape[0] * rank, "factors of another size")
    self.name = name
    self.rank = rank
    self.alpha = alpha
    self.scaling = scaling
    self.shape = shape
    self.a = a
    self.b = b
  }
}

/// An adapter as PEFT keeps it: a folder with `adapter_config.json` and `adapter_model.safetensors`.
package struct Adapter: Sendable {
  /// In natural order of their names, layer 2 before layer 10.
  package var modules: [AdapterModule]
  /// What gora-init says of the start, where gora made the adapter.
  package var start: JSON?
  /// Whether the scale is α/√r (else α/r).
  package var useRSLoRA: Bool
  /// `ModelFolder.identity` of the base, where gora wrote the adapter.
  package var model: String?
  /// `base_model_name_or_path`.
  package var baseModel: String?
  /// `task_type`, which the family of the base says; nil for none.
  package var taskType: String? = "CAUSAL_LM"
  /// `lora_dropout`, the share of inputs left out in training.
  package var dropout = 0.0
  /// Of what kind it is, with what the folder says of that kind alone.
  package var layout: any AdapterLayout = LoRAKind()
  /// How gora-train held the base's weights (`nf4`); nil: as they are, or not known.
  package var baseQuantization: String?
  package var provenance: Provenance

  package init(
    modules: [AdapterModule], useRSLoRA: Bool, model: String? = nil, baseModel: String? = nil,
    provenance: Provenance = Provenance()
  ) {
    self.modules = modules.sorted { naturallyPrecedes($0.name, $1.name) }
    self.useRSLoRA = useRSLoRA
    self.model = model
    self.baseModel = baseModel
    self.provenance = provenance
  }

  /// Stored parameters: Σ r·(out + in), and vectors.
  package var parameters: Int { modules.reduce(0) { $0 + $1.a.count + $1.b.count + ($1.vector?.count ?? 0) } }
  /// Parameters of the components that learn.
  package var trainedParameters: Int {
    modules.reduce(0) {
      $0 + ($1.rank - $1.frozenRank) * ($1.shape[0] + $1.shape[1]) + ($1.vector?.count ?? 0)
    }
  }

  /// The files of a folder, the one that makes it valid last.
  package static let fileNames = [AdapterCard.name, weightsName, configName]
  static let configName = "adapter_config.json"
  static let weightsName = "adapter_model.safetensors"
  static let tensorPrefix = "base_model.model."
  static let startKey = "gora_start"
  static let frozenKey = "gora_frozen_ranks"
  static let scalingKey = "gora_scaling"

  /// - Parameter kinds: which may be in the folder.
  /// - Throws: `.noInput` for a missing folder or file; `.data` for what is none of these kinds, a factor without its other half,
  ///   shapes that disagree with each other or with the ranks of the configuration, and values that are not finite.
  package init(readingFolder path: String, kinds: [any AdapterLayout.Type]) throws(GoraError) {
    try Self.checkFolder(path)
    let configPath = "\(path)/\(Self.configName)"
    let config = try AdapterConfig(
      reading: JSONDocument(path: configPath, text: readWholeFile(configPath)).root, kinds: kinds)
    let file = try SafetensorsFile(path: "\(path)/\(Self.weightsName)")
    let kind = type(of: config.layout)
    let suffixes = kind.suffixes
    var parts: [String: [String: TensorView]] = [:]
    for tensor in file.tensors {
      let (name, suffix) = try Self.moduleName(of: tensor, suffixes.all)
      parts[name, default: [:]][suffix] = tensor
    }
    var modules: [AdapterModule] = []
    for (name, tensors) in parts.sorted(by: { naturallyPrecedes($0.key, $1.key) }) {
      // PEFT leaves such factors out and says so in a list of unexpected keys at most.
      if let any = suffixes.all.compactMap({ tensors[$0] }).first, !config.targets.contains(name) {
        throw GoraError(
          .data, at: any.location, "\(Self.configName) does not say that \"\(name)\" is adapted",
          hint: "see \"target_modules\", \"exclude_modules\" and \"layers_to_transform\" there")
      }
      func part(_ suffix: String) throws(GoraError) -> TensorView {
        if let tensor = tensors[suffix] { return tensor }
        let there = suffixes.all.first { tensors[$0] != nil } ?? ""
        func short(_ suffix: String) -> String { suffix.split(separator: ".").first.map(String.init) ?? "" }
        throw GoraError(.data, at: .file(file.path), "\"\(name)\" has \(short(there)) but no \(short(suffix))")
      }
      let (a, b) = (try part(suffixes.a), try part(suffixes.b))
      let vector = try suffixes.vector.map(part)
      // What was left out altogether is there without elements.
      if config.rank(of: name) == 0 {
        guard a.count == 0, b.count == 0, vector?.count ?? 0 == 0 else {
          throw GoraError(.data, at: a.location, "shape \(a.shape); \(Self.configName) says rank 0")
        }
        continue
      }
      var module = try Self.module(name, a, b, config)
      if let vector, let shape = kind.vectorShape(rank: module.rank, weight: module.shape) {
        guard vector.shape == shape else {
          throw GoraError(
            .data, at: vector.location,
            "shape \(vector.shape); beside lora_A \(a.shape) and lora_B \(b.shape) \(kind.title) has \(shape)")
        }
        module.vector = try Self.finite(vector)
      }
      modules.append(module)
    }
    if modules.isEmpty { throw GoraError(.data, at: .file(file.path), "the adapter has no factors") }
    func metadata(_ key: String) -> String? { file.metadata.first { $0.key == key }?.value }
    func document(_ key: String) throws(GoraError) -> JSONField? {
      guard let text = metadata(key) else { return nil }
      return try JSONDocument(path: "\(file.path) (\(key))", text: Array(text.utf8)).root
    }
    if let frozen = try document(Self.frozenKey) { try Self.freeze(&modules, frozen) }
    if let scalings = try document(Self.scalingKey) { try Self.scale(&modules, scalings) }
    for i in modules.indices { modules[i].name = ModuleName.whole(modules[i].name) }
    self.modules = modules
    useRSLoRA = config.useRSLoRA
    layout = config.layout
    baseModel = config.baseModel
    dropout = config.dropout
    model = metadata("gora_model")
    start = try document(Self.startKey)?.value
    baseQuantization = metadata("gora_base_quantization")
    provenance =
      if let text = metadata("gora_provenance") {
        try Provenance(text: text, path: file.path)
      } else {
        Provenance()
      }
  }

  /// Marks the components that stay, `{module: count}`.
  private static func freeze(_ modules: inout [AdapterModule], _ field: JSONField) throws(GoraError) {
    for (name, count) in try field.members {
      guard let i = modules.firstIndex(where: { $0.name == name }) else {
        throw count.error("\(count.name) is not a module of the adapter")
      }
      modules[i].frozenRank = try count.int(in: 0...modules[i].rank - 1)
    }
  }

  /// Notes with what factors the modules were trained, `{module: s}`.
  private static func scale(_ modules: inout [AdapterModule], _ field: JSONField) throws(GoraError) {
    for (name, value) in try field.members {
      guard let i = modules.firstIndex(where: { $0.name == name }) else {
        throw value.error("\(value.name) is not a module of the adapter")
      }
      let scaling = try value.double
      guard scaling != 0, scaling.isFinite else { throw value.error("\(value.name) is \(scaling); expected a factor") }
      modules[i].nativeScaling = scaling
    }
  }

  private static func checkFolder(_ path: String) throws(GoraError) {
    var status = stat()
    guard stat(path, &status) == 0 else { throw .unreadable(path, errno) }
    guard status.st_mode & S_IFMT == S_IFDIR else {
      throw GoraError(.noInput, at: .file(path), "not a folder", hint: "name the folder that holds \(configName)")
    }
    guard access("\(path)/\(configName)", F_OK) == 0 else {
      let isModel = access("\(path)/config.json", F_OK) == 0
      throw GoraError(
        .noInput, at: .file(path), "no \(configName) in the folder",
        hint: isModel ? "this is a model, not an adapter: gora-init and gora-train write adapters" : nil)
    }
    if access("\(path)/\(weightsName)", F_OK) != 0 {
      let isPickle = access("\(path)/adapter_model.bin", F_OK) == 0
      throw GoraError(
        .noInput, at: .file(path), "no \(weightsName) in the folder",
        hint: isPickle ? "adapter_model.bin is a pickle; save it again with PEFT, which writes safetensors" : nil)
    }
  }

  /// The module that a tensor belongs to, and what of it the tensor is.
  private static func moduleName(of tensor: TensorView, _ suffixes: [String]) throws(GoraError) -> (String, suffix: String) {
    for suffix in suffixes
    where tensor.name.hasPrefix(tensorPrefix) && tensor.name.hasSuffix(suffix)
      && tensor.name.utf8.count > tensorPrefix.utf8.count + suffix.utf8.count
    {
      return (String(tensor.name.dropFirst(tensorPrefix.count).dropLast(suffix.count)), suffix)
    }
    if [".base_layer.weight", ".embed_tokens.weight"].contains(where: tensor.name.hasSuffix) {
      throw GoraError(
        .data, at: tensor.location, "a copy of a weight of the base, as PEFT saves it with adapters beside embeddings or head",
        hint: "save the adapter with save_embedding_layers=False")
    }
    throw GoraError(
      .data, at: tensor.location, "not a LoRA factor of a linear module",
      hint: "expected \(tensorPrefix)<module> with one of \(suffixes.joined(separator: ", "))")
  }

  private static func module(
    _ name: String, _ a: TensorView, _ b: TensorView, _ config: AdapterConfig
  ) throws(GoraError) -> AdapterModule {
    for tensor in [a, b] {
      guard tensor.shape.count == 2, tensor.count > 0 else {
        throw GoraError(.data, at: tensor.location, "shape \(tensor.shape); expected two sizes above 0")
      }
    }
    let (rank, expected) = (a.shape[0], config.rank(of: name))
    guard b.shape[1] == rank else {
      throw GoraError(
        .data, at: b.location, "shape \(b.shape); lora_A has shape \(a.shape), so [\(b.shape[0]), \(rank)] is expected")
    }
    guard rank == expected else {
      throw GoraError(
        .data, at: a.location, "shape \(a.shape), rank \(rank); \(configName) says rank \(expected)",
        hint: "is \"rank_pattern\" of \(configName) the one that was written with these weights?")
    }
    return AdapterModule(
      name: name, rank: rank, alpha: config.alpha(of: name), scaling: config.scaling(of: name, rank: rank),
      shape: [b.shape[0], a.shape[1]], a: try finite(a), b: try finite(b))
  }

  private static func finite(_ tensor: TensorView) throws(GoraError) -> [Float] {
    let values = try tensor.toFloat()
    if let index = values.firstIndex(where: { !$0.isFinite }) {
      throw GoraError(.data, at: tensor.location, "value \(values[index]) at element \(index); every factor must be finite")
    }
    return values
  }
}
