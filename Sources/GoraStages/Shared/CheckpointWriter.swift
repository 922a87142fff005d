import CGoraKernels
import GoraCore
import GoraFormats
import GoraModels

/// Writes a full checkpoint folder that Hugging Face tools load: weights, config.json, tokenizer files.
enum CheckpointWriter {
  /// - Parameters:
  ///   - base: gives each tensor's element type; nil for a new model, whose config.json says (`dtype` or `torch_dtype`).
  ///   - folder: opened with `ModelFolder.fileNames(withCompanionsIn:)` of the tokenizer's folder.
  ///   - configPath: the new model's config.json; nil for the base's.
  static func write(
    _ model: any Model, to folder: OutputFolder, base: ModelFolder?, tokenizerFolder: String, configPath: String?,
    provenance: Provenance?
  ) throws(GoraError) {
    let configText = try readWholeFile(configPath ?? "\(tokenizerFolder)/config.json")
    let document = try JSONDocument(path: configPath ?? "\(tokenizerFolder)/config.json", text: configText)
    let new = try document.root.optional("dtype")
    let old = try document.root.optional("torch_dtype")
    let named: DType = try (new ?? old)?.string == "bfloat16" ? .bf16 : .f32
    var narrow: [FloatBuffer] = []
    var isWidened = false
    var tensors: [SafetensorsWriter.Tensor] = []
    for parameter in model.parameters {
      let dtype = base?.tensor(parameter.name)?.dtype ?? named
      // What was not trained is copied.
      guard let values = parameter.values, parameter.gradient != nil || base?.tensor(parameter.name) == nil else {
        guard let tensor = base?.tensor(parameter.name) else { continue }
        tensors.append(
          SafetensorsWriter.Tensor(name: parameter.name, dtype: tensor.dtype, shape: tensor.shape, bytes: tensor.bytes))
        continue
      }
      var bytes = UnsafeRawBufferPointer(start: values.pointer, count: parameter.count * 4)
      if dtype == .bf16 {
        let half = FloatBuffer(capacity: (parameter.count + 1) / 2)
        narrow.append(half)
        gora_f32_to_bf16(
          values.pointer, UnsafeMutableRawPointer(half.pointer).assumingMemoryBound(to: UInt16.self), parameter.count)
        bytes = UnsafeRawBufferPointer(start: half.pointer, count: parameter.count * 2)
      }
      // f16 bases get trained weights in f32, rounding to f16 can overflow, and config.json says so.
      if dtype == .f16 { isWidened = true }
      tensors.append(
        SafetensorsWriter.Tensor(
          name: parameter.name, dtype: dtype == .bf16 ? .bf16 : .f32, shape: parameter.shape, bytes: bytes))
    }
    var metadata = [("format", "pt")]
    if let provenance { metadata.append(("gora_provenance", provenance.text)) }
    for name in try ModelFolder.companions(in: tokenizerFolder) {
      try folder[name].write(readWholeFile("\(tokenizerFolder)/\(name)", limit: FileLimit.companion))
    }
    try SafetensorsWriter.write(to: folder[ModelFolder.weightsName], tensors: tensors, metadata: metadata)
    withExtendedLifetime(narrow) {}
    let config = isWidened ? try Self.inBinary32(configText, document.root) : configText
    try folder[ModelFolder.configName].write(config)
    try folder.commit()
  }

  /// config.json with f32 as the weights' type: readers take it from there, not from the tensors.
  private static func inBinary32(_ text: [UInt8], _ config: JSONField) throws(GoraError) -> [UInt8] {
    var fields: [JSONField] = []
    for key in ["dtype", "torch_dtype"] { if let field = try config.optional(key) { fields.append(field) } }
    var text = text
    if fields.isEmpty, let start = text.firstIndex(of: UInt8(ascii: "{")) {
      text.insert(contentsOf: Array("\n  \"dtype\": \"float32\",".utf8), at: start + 1)
    }
    // The last first, so that the places of the others hold.
    for field in fields.sorted(by: { $0.value.offset > $1.value.offset }) {
      let end = field.value.offset + (try field.string).utf8.count + 2
      text.replaceSubrange(field.value.offset..<min(end, text.count), with: Array("\"float32\"".utf8))
    }
    return text
  }
}
