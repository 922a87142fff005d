import GoraCore

/// An adapter as llama.cpp reads it (`llama-adapter.cpp`): a GGUF file with `<tensor>.lora_a` [r, in] and `.lora_b` [out, r], each module
/// of its own rank. `adapter.lora.alpha` is left out, so that its factor is 1; s is multiplied into B.
extension Adapter {
  /// - Parameters:
  ///   - dtype: F32 or F16.
  ///   - architecture: of the base.
  ///   - headSize: of its attention: rows of q and k may lie interleaved there, and those of B then do, too.
  ///   - tensors: names of the base's tensors in GGUF, where they are known; llama.cpp refuses an adapter of others.
  ///   - provenance: nil leaves it out.
  /// - Throws: `.data` where the base has no such tensor there, or a number does not fit; `.usage` for kinds that llama.cpp does not know;
  ///   `.io` from writing.
  package func writeGGUF(
    to file: AtomicFile, dtype: DType, architecture: GGUFArchitecture, headSize: Int, tensors: Set<String>?,
    provenance: Provenance?
  ) throws(GoraError) {
    let kind = type(of: layout)
    guard kind.isReadElsewhere else {
      throw GoraError(
        .usage, "llama.cpp does not know \(kind.title)", hint: "--profile merged, then its own converter")
    }
    var entries: [GGUFWriter.Entry] = []
    var contents: [String: [UInt8]] = [:]
    for module in modules where module.rank > 0 {
      let weight = ModuleName.weight(of: module.name)
      guard let name = architecture.ggufName(of: weight), tensors?.contains(name) ?? true else {
        throw GoraError(
          .data, at: .file(file.path), "llama.cpp has no tensor for module \"\(module.name)\" of this model")
      }
      var b = module.b
      let s = module.scaling
      for i in b.indices { b[i] = Float(Double(b[i]) * s) }
      if architecture.interleaves(weight) {
        let (order, lines) = (RowOrder(headSize: headSize), b)
        for row in 0..<module.shape[0] {
          let stored = order.place(of: row)
          b.replaceSubrange(
            stored * module.rank..<(stored + 1) * module.rank, with: lines[row * module.rank..<(row + 1) * module.rank])
        }
      }
      for (suffix, shape, values) in [
        (".lora_a", [module.rank, module.shape[1]], module.a), (".lora_b", [module.shape[0], module.rank], b),
      ] {
        guard let bytes = BlockEncoding.bytes(of: values, as: dtype) else {
          throw GoraError(
            .data, at: .file(file.path), "module \"\(module.name)\" has factors that do not fit \(dtype.rawValue)")
        }
        entries.append(GGUFWriter.Entry(name: name + suffix, dtype: dtype, shape: shape))
        contents[name + suffix] = bytes
      }
    }
    guard !entries.isEmpty else {
      throw GoraError(.data, at: .file(file.path), "no module has a rank above 0, so there is no adapter to write")
    }
    var metadata: [(key: String, value: GGUFWriter.Value)] = [
      ("general.type", .string("adapter")), ("general.architecture", .string(architecture.name)),
      ("adapter.type", .string("lora")),
    ]
    if let model { metadata.append(("gora.model", .string(model))) }
    if let provenance { metadata.append(("gora.provenance", .string(provenance.text))) }
    try GGUFWriter.write(to: file, metadata: metadata, entries: entries) { entry, append throws(GoraError) in
      try (contents[entry.name] ?? []).giveBytes(to: append)
    }
  }
}
