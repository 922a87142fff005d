import GoraCore

extension GGUFFile {
  /// The weights by their names at Hugging Face; rows of q and k that lie interleaved say so.
  /// - Throws: `.data` for a tensor that the architecture does not have: it may change what the model computes.
  func huggingFaceTensors() throws(GoraError) -> [String: TensorView] {
    let config = try GGUFConfig(self)
    let architecture = config.architecture
    let headSize = try config.headSize
    var renamed: [String: TensorView] = [:]
    for var tensor in tensors where tensor.name != "rope_freqs.weight" {
      guard let name = architecture.huggingFaceName(of: tensor.name) else {
        throw GoraError(.data, at: tensor.location, "architecture \"\(architecture.name)\" has no such tensor here")
      }
      guard !tensor.dtype.isQuantised || tensor.shape.count == 2 else {
        throw GoraError(
          .data, at: tensor.location, "shape \(tensor.shape) in \(tensor.dtype.rawValue); only matrices are quantised")
      }
      if architecture.interleaves(name) {
        guard let rows = tensor.shape.first, headSize % 2 == 0, rows % headSize == 0 else {
          throw GoraError(.data, at: tensor.location, "shape \(tensor.shape), where heads have a size of \(headSize)")
        }
        tensor.rowOrder = RowOrder(headSize: headSize)
      }
      if architecture.normOffset != 0, name.hasSuffix("norm.weight") { tensor.addend = -architecture.normOffset }
      tensor.name = name
      renamed[name] = tensor
    }
    return renamed
  }
}
