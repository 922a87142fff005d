import GoraCore
import GoraFormats
import GoraMethods
import GoraModels

/// A base with an adapter folded in, W + s·B·A, as a checkpoint folder that any Hugging Face reader loads.
struct MergedCheckpoint {
  let adapter: Adapter
  let model: ModelFolder

  /// Writes one tensor at a time, each in its own dtype.
  /// - Parameter folder: opened with `ModelFolder.fileNames(withCompanionsIn:)` of the base.
  /// - Throws: status 65 where a merged weight does not fit its dtype, 73 and 74 from writing.
  func write(to folder: OutputFolder, provenance: Provenance?, events: EventHandler) throws(GoraError) {
    let tensors = model.names.compactMap(model.tensor)
    var metadata = [("format", "pt")]
    if let provenance { metadata.append(("gora_provenance", provenance.text)) }
    var done = 0
    // Weights that the adapter changes, and those of them that come out as they were.
    var (changed, unmoved) = (0, 0)
    try SafetensorsWriter.write(
      to: folder[ModelFolder.weightsName],
      entries: tensors.map { SafetensorsWriter.Entry(name: $0.name, dtype: $0.dtype, shape: $0.shape) },
      metadata: metadata
    ) { entry, append throws(GoraError) in
      guard let tensor = model.tensor(entry.name) else { return }
      if let module = adapter.modules.first(where: { ModuleName.weight(of: $0.name) == entry.name }) {
        let merged = try merged(tensor, module)
        changed += merged.changed
        unmoved += merged.unmoved
        try merged.bytes.giveBytes(to: append)
      } else {
        try append(tensor.bytes)
      }
      done += 1
      events(.progress(stage: "merging", done: done, total: tensors.count, unit: "tensors"))
    }
    if unmoved > changed / 2 {
      events(
        .warning(
          "\(unmoved) of the \(changed) weights that the adapter changes stay as they are: its update is less than the base's dtype "
            + "tells apart"))
    }
    for name in try ModelFolder.companions(in: model.path) + [ModelFolder.configName] {
      try folder[name].write(readWholeFile("\(model.path)/\(name)", limit: FileLimit.companion))
    }
    try folder.commit()
  }

  /// The merged weight's bytes in the base's dtype, rounded once, to nearest even.
  private func merged(
    _ tensor: TensorView, _ module: AdapterModule
  ) throws(GoraError) -> (bytes: [UInt8], changed: Int, unmoved: Int) {
    let old = try tensor.toFloat()
    var values = old
    Merge.add(
      a: module.a, b: module.b, scaling: module.scaling, to: &values, rows: tensor.shape[0], columns: tensor.shape[1],
      rank: module.rank)
    if let vector = module.vector { adapter.kind.merge(vector, into: &values, columns: tensor.shape[1]) }
    guard [.f32, .bf16, .f16, .f64].contains(tensor.dtype) else {
      throw GoraError(.data, at: tensor.location, "dtype \(tensor.dtype.rawValue) cannot be merged into")
    }
    guard let result = BlockEncoding.bytes(of: values, as: tensor.dtype) else {
      throw GoraError(.data, at: tensor.location, "a merged weight does not fit \(tensor.dtype.rawValue)")
    }
    let width = result.count / max(1, values.count)
    var (changed, unmoved) = (0, 0)
    for i in values.indices where values[i] != old[i] {
      changed += 1
      let place = i * width..<(i + 1) * width
      if result[place].elementsEqual(tensor.bytes[place]) { unmoved += 1 }
    }
    return (result, changed, unmoved)
  }
}
