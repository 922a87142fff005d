import GoraCore
import GoraModels

extension Model {
  /// Puts a low-rank product beside the linear of that module path.
  /// - Parameters:
  ///   - magnitude: m [out], which makes it DoRA.
  ///   - singularValues: E [rank], which makes it AdaLoRA.
  ///   - isFrozen: it belongs to the weight and does not learn; there is room for one of each kind.
  /// - Throws: exit 65 where there is no such module or the shapes do not fit.
  package func attach(
    module: String, rank: Int, scaling: Double, a: [Float], b: [Float], magnitude: [Float]? = nil,
    singularValues: [Float]? = nil, isFrozen: Bool = false
  ) throws(GoraError) {
    guard let linear = linears.first(where: { $0.name == module }) else {
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
    if let magnitude {
      guard magnitude.count == linear.outputSize else {
        throw GoraError(
          .data, "module \"\(module)\" of the adapter has \(magnitude.count) magnitudes, the weight \(linear.outputSize) outputs")
      }
      adapter.magnitude = Magnitude(module: module, values: magnitude, weight: linear.weight.matrix)
    }
    adapter.singularValues = singularValues.map { SingularValues(module: module, values: $0, inputSize: linear.inputSize) }
    if isFrozen { linear.frozenAdapter = adapter } else { linear.adapter = adapter }
  }

  /// The adapters that learn.
  package var adapters: [LowRankAdapter] { linears.compactMap(\.adapter).filter { $0.rank > 0 } }
}
