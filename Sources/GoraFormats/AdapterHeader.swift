import GoraCore

/// What the header of a LoRA folder's weights says, without reading the factors.
package struct AdapterHeader: Sendable {
  package struct Module: Sendable, Equatable {
    /// Module path in the base model.
    package var name: String
    /// [out, in] of the weight.
    package var shape: [Int]
    package var rank: Int
  }

  /// In natural order of their names.
  package let modules: [Module]
  /// `__metadata__` of the weights.
  package let metadata: [(key: String, value: String)]
  package let provenance: Provenance

  /// Whether a folder is one of PEFT's: it has a configuration and weights.
  package static func isAdapter(_ folder: String) -> Bool {
    exists("\(folder)/\(Adapter.configName)") && exists("\(folder)/\(Adapter.weightsName)")
  }

  /// - Throws: `.noInput` where the weights cannot be read, `.data` where they are no LoRA factors.
  /// - Parameter kinds: which may be in the folder.
  package init(readingFolder path: String, kinds: [any AdapterLayout.Type]) throws(GoraError) {
    let file = try SafetensorsFile(path: "\(path)/\(Adapter.weightsName)")
    var down: [String: [Int]] = [:]
    var up: [String: [Int]] = [:]
    for tensor in file.tensors where tensor.shape.count == 2 {
      for kind in kinds {
        for (suffix, isDown) in [(kind.suffixes.a, true), (kind.suffixes.b, false)]
        where tensor.name.hasPrefix(Adapter.tensorPrefix) && tensor.name.hasSuffix(suffix) {
          let name = String(tensor.name.dropFirst(Adapter.tensorPrefix.count).dropLast(suffix.count))
          if isDown { down[name] = tensor.shape } else { up[name] = tensor.shape }
        }
      }
    }
    var modules: [Module] = []
    for name in down.keys.sorted(by: naturallyPrecedes) {
      guard let a = down[name], let b = up[name], a[0] == b[1] else { continue }
      modules.append(Module(name: name, shape: [b[0], a[1]], rank: a[0]))
    }
    if modules.isEmpty { throw GoraError(.data, at: .file(file.path), "no LoRA factors of linear modules") }
    self.modules = modules
    metadata = file.metadata
    provenance =
      if let text = file.metadata.first(where: { $0.key == "gora_provenance" })?.value {
        try Provenance(text: text, path: file.path)
      } else {
        Provenance()
      }
  }
}
