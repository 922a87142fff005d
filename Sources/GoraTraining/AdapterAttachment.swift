import GoraCore
import GoraFormats
import GoraModels

extension Model {
  /// Puts a low-rank product beside the linear of that module path.
  /// - Parameters:
  ///   - vector: what the kind has besides A and B.
  ///   - isFrozen: it belongs to the weight and does not learn; there is room for one of each kind.
  /// - Throws: exit 65 where there is no such module or the shapes do not fit.
  package func attach(
    module: String, rank: Int, scaling: Double, a: [Float], b: [Float], kind: any AdapterKind.Type = LoRAKind.self,
    vector: [Float]? = nil, isFrozen: Bool = false
  ) throws(GoraError) {
    guard let linear = linears.first(where: { $0.name == module }) else {
      let isThere = parameters.contains { $0.name == "\(module).weight" }
      if isThere || module == "lm_head" {
        throw GoraError(
          .data, "the adapter has module \"\(module)\", which gora runs no adapter beside",
          hint: isThere ? "gora-export --profile merged puts the adapter into the weights" : "the model's head is its embedding")
      }
      throw GoraError(
        .data, "the adapter has module \"\(module)\", the model does not", hint: "is it an adapter of another model?")
    }
    guard a.count == rank * linear.inputSize, b.count == linear.outputSize * rank else {
      throw GoraError(
        .data,
        "module \"\(module)\" of the adapter does not fit weight [\(linear.outputSize), \(linear.inputSize)] at rank \(rank)")
    }
    let adapter = LowRankAdapter(
      module: module, rank: rank, scaling: Float(scaling), a: FloatBuffer(a), b: FloatBuffer(b), inputSize: linear.inputSize,
      outputSize: linear.outputSize)
    if let vector {
      let shape = kind.vectorShape(rank: rank, weight: linear.weight.shape) ?? []
      guard vector.count == shape.reduce(1, *) else {
        throw GoraError(
          .data,
          "module \"\(module)\" of the adapter has a vector of \(vector.count), \(kind.title) beside this weight one of \(shape)")
      }
      kind.attach(vector, to: adapter, module: module, weight: linear.weight.matrix)
    }
    if isFrozen { linear.frozenAdapter = adapter } else { linear.adapter = adapter }
  }

  /// The adapters that learn.
  package var adapters: [LowRankAdapter] { linears.compactMap(\.adapter).filter { $0.rank > 0 } }
}
