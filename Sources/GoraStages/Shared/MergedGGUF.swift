import GoraCore
import GoraFormats
import GoraMethods
import GoraModels

/// A GGUF base with an adapter folded in, W + s·B·A, as a GGUF file: tensors that the adapter changes are written anew, all else is as it was.
struct MergedGGUF {
  let adapter: Adapter
  let model: ModelFolder
  let base: GGUFFile
  let architecture: GGUFArchitecture
  /// F32, F16, BF16 or Q8_0.
  let dtype: DType

  /// `general.file_type` of files that are mostly of such elements.
  private static let fileTypes: [DType: UInt32] = [.f32: 0, .f16: 1, .q80: 7, .bf16: 32]

  /// - Throws: status 65 where a merged weight does not fit its elements, 74 from writing.
  func write(to file: AtomicFile, provenance: Provenance?, events: EventHandler) throws(GoraError) {
    var changed: [String: AdapterModule] = [:]
    for module in adapter.modules {
      if let name = architecture.ggufName(of: ModuleName.weight(of: module.name)) { changed[name] = module }
    }
    let entries = base.tensors.map { tensor in
      GGUFWriter.Entry(
        name: tensor.name, dtype: changed[tensor.name] == nil ? tensor.dtype : self.dtype(of: tensor), shape: tensor.shape)
    }
    let anew = base.tensors.filter { changed[$0.name] != nil }.reduce(0) { $0 + $1.count }
    let isMostlyAnew = 2 * anew > base.tensors.reduce(0) { $0 + $1.count }
    var metadata: [(key: String, value: GGUFWriter.Value)] = []
    for key in base.keys where !key.hasPrefix("split.") && key != "general.alignment" && key != "gora.provenance" {
      guard let field = base.metadata(key) else { continue }
      if key == "general.file_type", isMostlyAnew, let number = Self.fileTypes[dtype] {
        metadata.append((key, .uint32(number)))
      } else {
        metadata.append((key, .bytes(field.bytes)))
      }
    }
    if let provenance { metadata.append(("gora.provenance", .string(provenance.text))) }
    var done = 0
    try GGUFWriter.write(to: file, metadata: metadata, entries: entries) { entry, append throws(GoraError) in
      if let module = changed[entry.name], let weight = model.tensor(ModuleName.weight(of: module.name)) {
        try merged(weight, module, into: entry.dtype).giveBytes(to: append)
      } else if let tensor = base.tensor(entry.name) {
        try append(tensor.bytes)
        tensor.releasePages()
      }
      done += 1
      events(.progress(stage: "merging", done: done, total: entries.count, unit: "tensors"))
    }
  }

  /// As llama.cpp's converter does, rows that are not whole blocks are F16.
  private func dtype(of tensor: TensorView) -> DType {
    (tensor.shape.last ?? 0) % dtype.block.elements == 0 ? dtype : .f16
  }

  /// The merged weight's bytes, rows in the order of the file.
  private func merged(_ weight: TensorView, _ module: AdapterModule, into dtype: DType) throws(GoraError) -> [UInt8] {
    var values = try weight.toFloat()
    let (rows, columns) = (weight.shape[0], weight.shape[1])
    Merge.add(a: module.a, b: module.b, scaling: module.scaling, to: &values, rows: rows, columns: columns, rank: module.rank)
    if let vector = module.vector { adapter.kind.merge(vector, into: &values, columns: columns) }
    if let order = weight.rowOrder {
      let rowsAtHuggingFace = values
      for row in 0..<rows {
        let place = order.place(of: row)
        values.replaceSubrange(
          place * columns..<(place + 1) * columns, with: rowsAtHuggingFace[row * columns..<(row + 1) * columns])
      }
    }
    guard let bytes = BlockEncoding.bytes(of: values, as: dtype) else {
      throw GoraError(.data, at: weight.location, "a merged weight does not fit \(dtype.rawValue)")
    }
    return bytes
  }
}
