import CGoraKernels
import GoraCore
import GoraFormats

/// A magnitude for each output: the weight is diag(m/‖V‖)·V with V = W + s·B·A (Liu et al. 2024, arXiv 2402.09353; PEFT `lora/dora.py`).
package struct DoRAKind: AdapterKind {
  package static let name = "dora"
  package static let title = "DoRA"
  package static let usesDoRA = true
  package static let suffixes = AdapterSuffixes(a: ".lora_A.weight", b: ".lora_B.weight", vector: ".lora_magnitude_vector")
  package static let profiles: Set<AdapterProfile> = [.native, .ranked, .compact]
  package static let isRelativeToWeight = true

  package init(reading root: JSONField) throws(GoraError) {}
  package init(ranks: [Int], place: (Int) throws(GoraError) -> JSONField) throws(GoraError) {}

  package static func vectorShape(rank: Int, weight: [Int]) -> [Int]? { [weight[0]] }

  /// m = ‖V‖: it starts as V.
  package static func start(
    rank: Int, columns: Int, weight: () throws(GoraError) -> [Float]
  ) throws(GoraError) -> [Float]? { rowNorms(try weight(), columns: columns) }

  package static func attach(_ vector: [Float], to adapter: LowRankAdapter, module: String, weight: WeightMatrix) {
    adapter.outputScale = Magnitude(module: module, values: vector, weight: weight)
  }

  /// V = diag(m/‖V‖)·V (PEFT `lora/variants.py`); rows of zeros stay.
  package static func merge(_ vector: [Float], into v: inout [Float], columns: Int) {
    for (row, norm) in rowNorms(v, columns: columns).enumerated() where norm > 0 {
      let factor = vector[row] / norm
      for i in row * columns..<(row + 1) * columns { v[i] *= factor }
    }
  }

  /// ‖Vᵢ‖₂ of the rows of V [rows, columns].
  package static func rowNorms(_ v: [Float], columns: Int) -> [Float] {
    (0..<v.count / columns).map { row in
      Float(v[row * columns..<(row + 1) * columns].reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot())
    }
  }
}

/// The magnitudes m [out] that make a low-rank product DoRA (Liu et al. 2024, arXiv 2402.09353, as PEFT's `lora/dora.py` has it): the weight
/// is diag(m/‖V‖)·V with V = W + s·B·A, where ‖V‖ has one L2 norm over the inputs for each output. The norms follow V, but backward takes
/// them for constants.
package final class Magnitude: OutputScale {
  /// m [out].
  package let vector: Parameter
  /// ‖Wᵢ‖² [out].
  private let squares: [Double]
  /// ‖Vᵢ‖ [out], as `refresh` left them.
  private let norms: FloatBuffer
  /// mᵢ/‖Vᵢ‖ [out].
  private let factors: FloatBuffer

  package init(module: String, values: [Float], weight: WeightMatrix) {
    vector = Parameter(name: "\(module).lora_magnitude_vector", shape: [values.count], values: FloatBuffer(values))
    norms = FloatBuffer(zeros: values.count)
    factors = FloatBuffer(zeros: values.count)
    var squares = [Double](repeating: 0, count: weight.rows)
    squares.withUnsafeMutableBufferPointer { squares in
      nonisolated(unsafe) let squares = squares
      parallelRanges(weight.rows, grain: 16) { range in
        let row = FloatBuffer(capacity: weight.columns)
        for i in range {
          weight.widen(i..<i + 1, into: row.pointer)
          squares[i] = gora_sum_squares(row.pointer, weight.columns)
        }
      }
    }
    self.squares = squares
  }

  /// Takes in what A, B and m are now. ‖Vᵢ‖² = ‖Wᵢ‖² + 2s·Bᵢ·(A·Wᵢ) + s²·Bᵢ·(A·Aᵀ)·Bᵢᵀ: W is passed over once, for the product with A, as by r
  /// tokens of a forward pass.
  package func refresh(_ adapter: LowRankAdapter, weight: WeightMatrix, workspace: Workspace) {
    let (rank, rows, columns) = (adapter.rank, weight.rows, weight.columns)
    let exact = WeightMatrix(weight.storage, rows: rows, columns: columns)
    let projected = workspace.low.reserve(rank * rows)
    exact.multiply(adapter.a.vector, tokens: rank, into: projected, scratch: workspace.matmul)
    let gram = FixedSum.gram(adapter.a.vector, rows: rank, columns: columns)
    let s = Double(adapter.scaling)
    let (b, m, norms, factors) = (adapter.b.vector, vector.vector, norms.pointer, factors.pointer)
    parallelRanges(rows, grain: 64) { range in
      for i in range {
        var (cross, own) = (0.0, 0.0)
        for k in 0..<rank {
          let x = Double(b[i * rank + k])
          cross += x * Double(projected[k * rows + i])
          for l in 0..<rank { own += x * Double(b[i * rank + l]) * gram[k * rank + l] }
        }
        // A row of zeros stays one, whatever its magnitude.
        let norm = max(0, self.squares[i] + 2 * s * cross + s * s * own).squareRoot()
        norms[i] = Float(norm)
        factors[i] = norm > 0 ? Float(Double(m[i]) / norm) : 0
      }
    }
  }

  /// y = (m/‖V‖)⊙z for z = V·x [T, out]; y may be z.
  package func scale(_ z: UnsafePointer<Float>, tokens: Int, into y: UnsafeMutablePointer<Float>) {
    let size = vector.count
    parallelRanges(tokens, grain: max(1, 16_384 / size)) { range in
      let i = range.lowerBound * size
      gora_scale_columns(z + i, factors.pointer, y + i, range.count, size)
    }
  }

  /// dm += (Σ over tokens of dy⊙z)/‖V‖, where m learns.
  package func addGradient(_ dy: UnsafePointer<Float>, z: UnsafePointer<Float>, tokens: Int) {
    guard let gradient = vector.gradient?.pointer else { return }
    let size = vector.count
    let sums = FloatBuffer(zeros: size)
    parallelRanges(size, grain: 64, alignment: 16) {
      gora_column_products(dy, z, sums.pointer, tokens, size, $0.lowerBound, $0.upperBound)
    }
    for i in 0..<size where norms.pointer[i] > 0 { gradient[i] += sums.pointer[i] / norms.pointer[i] }
  }
}
