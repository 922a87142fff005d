import GoraCore

/// The singular values E [r] that make a low-rank product AdaLoRA (Zhang et al. 2023, arXiv 2303.10512, as PEFT's `tuners/adalora/layer.py`
/// has it): ΔW = s·B·diag(E)·A. A component whose value is 0 is left out.
package final class SingularValues {
  /// E [r, 1].
  package let vector: Parameter
  /// diag(E)·A [r, in], as `refresh` left it.
  let product: FloatBuffer
  private let rank: Int
  private let columns: Int

  package init(module: String, values: [Float], inputSize: Int) {
    (rank, columns) = (values.count, inputSize)
    vector = Parameter(name: "\(module).lora_E", shape: [rank, 1], values: FloatBuffer(values))
    product = FloatBuffer(zeros: rank * inputSize)
  }

  /// Takes in what E and A are now.
  func refresh(_ a: Parameter) {
    for k in 0..<rank {
      let (value, row, result) = (vector.vector[k], a.vector + k * columns, product.pointer + k * columns)
      for i in 0..<columns { result[i] = value * row[i] }
    }
  }

  /// dA += diag(E)·g and dE += Σ over the inputs of g⊙A, where they learn, for the gradient g [r, in] of diag(E)·A.
  func addGradients(_ g: UnsafePointer<Float>, a: Parameter) {
    for k in 0..<rank {
      let (value, line) = (vector.vector[k], g + k * columns)
      if let gradient = vector.gradient {
        gradient.pointer[k] += Float(FixedSum.product(line, a.vector + k * columns, count: columns))
      }
      if let gradient = a.gradient {
        let sum = gradient.pointer + k * columns
        for i in 0..<columns { sum[i] += value * line[i] }
      }
    }
  }
}
