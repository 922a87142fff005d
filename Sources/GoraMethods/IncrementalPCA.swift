import GoraCore

/// The principal components of rows that come in parts and are not kept (Ross, Lim, Lin & Yang 2008, "Incremental learning for robust visual
/// tracking", section 3.1, as scikit-learn's `IncrementalPCA` and PEFT's `utils/incremental_pca.py` have it).
///
/// Each part X [n, in] is decomposed below what is known so far: the rows σᵢ·vᵢ, X less its own mean, and one row
/// √(N·n/(N+n))·(mean so far − mean of X) for the way that the mean has gone.
package final class IncrementalPCA {
  package let inputSize: Int
  /// k, the components kept.
  package let count: Int
  /// [k, in], orthonormal, by falling variance; the largest element of each is positive. Empty before the first part.
  package private(set) var components: [Float] = []
  /// Of all rows, less their mean.
  package private(set) var singularValues: [Double] = []
  /// The cosine between each component and what it was before the last whole part; 0 after the first.
  package private(set) var similarity: [Double] = []
  /// N, the rows taken in.
  package private(set) var samples = 0

  private var mean: [Double]
  /// Σ‖x − mean‖² over all rows.
  private var energy = 0.0
  private var random: Random

  /// - Parameter random: draws the subspaces from which decompositions begin.
  package init(inputSize: Int, count: Int, random: Random) {
    precondition(1...inputSize ~= count)
    self.inputSize = inputSize
    self.count = count
    self.random = random
    mean = [Double](repeating: 0, count: inputSize)
  }

  /// The part of the rows' variance that each component explains: σᵢ²/Σ‖x − mean‖².
  package var explainedVarianceRatio: [Double] { singularValues.map { $0 * $0 / energy } }

  /// Takes rows in.
  /// - Parameter rows: [n, in]; the first ones must be k or more.
  /// - Throws: status 65 where they are all the same, or not finite.
  package func add(_ rows: [Float]) throws(GoraError) {
    let n = rows.count / inputSize
    precondition(n * inputSize == rows.count && samples + n >= count && (samples > 0 || n >= count))
    if n == 0 { return }
    let known = samples > 0 ? count : 0
    let height = known + n + (samples > 0 ? 1 : 0)
    var partMean = [Double](repeating: 0, count: inputSize)
    var partEnergy = 0.0
    let matrix = [Float](unsafeUninitializedCapacity: height * inputSize) { matrix, initialized in
      initialized = height * inputSize
      for i in 0..<known {
        let value = singularValues[i]
        for j in 0..<inputSize {
          matrix[i * inputSize + j] = Float(value * Double(components[i * inputSize + j]))
        }
      }
      partMean.withUnsafeMutableBufferPointer { partMean in
        for i in 0..<n { for j in 0..<inputSize { partMean[j] += Double(rows[i * inputSize + j]) } }
        for j in 0..<inputSize { partMean[j] /= Double(n) }
        for i in 0..<n {
          for j in 0..<inputSize {
            let x = Double(rows[i * inputSize + j]) - partMean[j]
            partEnergy += x * x
            matrix[(known + i) * inputSize + j] = Float(x)
          }
        }
        if samples > 0 {
          let factor = (Double(samples) * Double(n) / Double(samples + n)).squareRoot()
          for j in 0..<inputSize { matrix[(known + n) * inputSize + j] = Float(factor * (mean[j] - partMean[j])) }
        }
      }
    }
    let triplets = try SingularTriplets(leading: count, of: matrix, rows: height, columns: inputSize, random: &random)
    if n >= count {
      similarity = (0..<count).map { i in
        components.isEmpty ? 0 : Self.cosine(components, triplets.right, row: i, columns: inputSize)
      }
    }
    components = triplets.right
    singularValues = triplets.values
    // Both energies, and that of the two means about their common one.
    let weight = Double(samples) * Double(n) / Double(samples + n)
    energy += partEnergy
    for j in 0..<inputSize {
      let way = partMean[j] - mean[j]
      if samples > 0 { energy += weight * way * way }
      mean[j] += way * Double(n) / Double(samples + n)
    }
    samples += n
  }

  private static func cosine(_ x: [Float], _ y: [Float], row: Int, columns: Int) -> Double {
    var (product, first, second) = (0.0, 0.0, 0.0)
    for at in row * columns..<(row + 1) * columns {
      product += Double(x[at]) * Double(y[at])
      first += Double(x[at]) * Double(x[at])
      second += Double(y[at]) * Double(y[at])
    }
    return product / max((first * second).squareRoot(), 1e-300)
  }
}
