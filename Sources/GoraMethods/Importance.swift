import CGoraKernels
import Glibc
import GoraCore

/// How much a weight matters to the loss, from the weight W and its mean gradient G (both [out, in]).
///
/// The names that the authors' code gives to them stand in parentheses; those after `gradientEntropy` are not in it.
package enum ImportanceMetric: String, CaseIterable, Sendable {
  /// Mean of |W⊙G| (`union_mean`, the paper's).
  case sensitivity
  /// ‖W⊙G‖_F (`union_frobenius_norm`).
  case sensitivityFrobenius = "sensitivity-frobenius"
  /// Mean over output rows of ‖(W⊙G)_row‖₂ (`union_2ord_norm`).
  case sensitivityRows = "sensitivity-rows"
  /// ‖W⊙G‖_*, the sum of singular values (`union_nuc_norm`).
  case sensitivityNuclear = "sensitivity-nuclear"
  /// Σ log(1 + σ) over the largest singular values of W⊙G, estimated (`union_est_nuc_norm`).
  case sensitivityNuclearEstimate = "sensitivity-nuclear-estimate"
  /// Mean of |G| (`grad_mean`).
  case gradientMean = "gradient-mean"
  /// ‖G‖_F (`grad_frobenius_norm`).
  case gradientFrobenius = "gradient-frobenius"
  /// ‖G‖_* (`grad_nuc_norm`).
  case gradientNuclear = "gradient-nuclear"
  /// Σ log(1 + σ) over the largest singular values of G, estimated (`grad_est_nuc_norm`).
  case gradientNuclearEstimate = "gradient-nuclear-estimate"
  /// ln σ + (ln 2π + 1)/2, the entropy of a normal distribution as wide as the entries of G (`grad_entropy`); may be negative.
  case gradientEntropy = "gradient-entropy"
  /// ‖W⊙G‖₂, the largest singular value (asked for by a reviewer of the paper).
  case sensitivitySpectral = "sensitivity-spectral"
  /// ‖G‖₂.
  case gradientSpectral = "gradient-spectral"
  /// Mean of (W⊙G)².
  case sensitivitySquare = "sensitivity-square"
  /// Mean of G², the diagonal of the empirical Fisher information of the mean gradient.
  case gradientSquare = "gradient-square"
  /// exp(−Σ p·ln p), p = σᵢ/Σσ: the effective rank of G (Roy & Vetterli 2007), which RaLoRA goes by.
  case gradientErank = "gradient-erank"
  /// Mean of E[g²] over the micro-batches' gradients g, the diagonal of the empirical Fisher information where each is one row (FIM-LoRA).
  case fisher
  /// Mean of W²⊙E[g²], the change of the loss to second order without W, but for a factor (Sensitivity-LoRA; LeCun et al. 1990).
  case fisherSensitivity = "fisher-sensitivity"
  /// The part of the variance of the module's inputs that its principal components explain (EVA).
  case explainedVariance = "explained-variance"

  /// What a metric is computed of, beside the weight.
  package enum Evidence: Sendable {
    case gradient
    /// E[g²].
    case squares
    /// The explained variance ratios of the inputs.
    case inputs
  }

  package var evidence: Evidence {
    switch self {
    case .fisher, .fisherSensitivity: .squares
    case .explainedVariance: .inputs
    default: .gradient
    }
  }

  /// What is computed over all entries or singular values.
  private enum Kind {
    case mean, square, frobenius, rows, entropy
    /// The mean of E[g²], or of W²⊙E[g²].
    case fisher
    case nuclear, spectral, erank, nuclearEstimate
    case explained
  }

  private var kind: (Kind, ofProduct: Bool) {
    switch self {
    case .sensitivity: (.mean, true)
    case .sensitivitySquare: (.square, true)
    case .sensitivityFrobenius: (.frobenius, true)
    case .sensitivityRows: (.rows, true)
    case .sensitivityNuclear: (.nuclear, true)
    case .sensitivitySpectral: (.spectral, true)
    case .sensitivityNuclearEstimate: (.nuclearEstimate, true)
    case .gradientMean: (.mean, false)
    case .gradientSquare: (.square, false)
    case .gradientFrobenius: (.frobenius, false)
    case .gradientNuclear: (.nuclear, false)
    case .gradientSpectral: (.spectral, false)
    case .gradientNuclearEstimate: (.nuclearEstimate, false)
    case .gradientEntropy: (.entropy, false)
    case .gradientErank: (.erank, false)
    case .fisher: (.fisher, false)
    case .fisherSensitivity: (.fisher, true)
    case .explainedVariance: (.explained, false)
    }
  }

  /// Whether singular values are computed, all of them, which takes one thread tens of seconds for a weight of 4096 × 4096.
  package var decomposes: Bool { [.nuclear, .spectral, .erank].contains(kind.0) }

  /// Whether singular values are estimated, from random numbers.
  package var estimates: Bool { kind.0 == .nuclearEstimate }

  /// The importance of one weight; the same bits for any number of threads.
  ///
  /// - Parameters:
  ///   - pair: the weight and the `evidence`.
  ///   - module: names the random numbers of an estimate.
  ///   - svd: how singular values are estimated.
  ///   - spectra: where singular values that several metrics look at are found, and left.
  /// - Throws: status 65 where the result is not finite (a NaN or infinity in the input).
  package func importance(
    of pair: WeightGradient, module: String, svd: RandomisedSVD, spectra: inout Spectra
  ) throws(GoraError) -> Double {
    precondition(evidence != .inputs, "the ratios are in the file")
    guard pair.count > 0 else { return 0 }
    let (kind, ofProduct) = self.kind
    let count = Double(pair.count)
    let value: Double
    switch kind {
    case .mean: value = Self.absoluteSum(pair, ofProduct) / count
    case .square: value = Self.squareSum(pair, ofProduct) / count
    case .frobenius: value = Self.squareSum(pair, ofProduct).squareRoot()
    case .rows:
      value =
        pair.sumOfRowPairs { w, g, count in gora_square_product_sum(w, g, count).squareRoot() } / Double(pair.rows)
    case .entropy:
      let mean = pair.sumOfGradients { gora_sum($0, $1) } / count
      let variance = pair.sumOfGradients { gora_square_deviations($0, mean, $1) } / max(1, count - 1)
      // Entries that are all equal: the least width of the authors' code.
      value = variance.isFinite ? log(max(variance.squareRoot(), 1e-8)) + (log(2 * Double.pi) + 1) / 2 : variance
    case .fisher:
      value =
        (ofProduct
          ? pair.sumOfPairs { w, squares, count in gora_square_weighted_sum(w, squares, count) }
          : pair.sumOfGradients { gora_sum($0, $1) }) / count
    case .explained: value = 0
    case .nuclear, .spectral, .erank, .nuclearEstimate:
      let mean = Self.absoluteSum(pair, ofProduct) / count
      value =
        mean > 0 && mean.isFinite ? try spectrum(kind, pair, ofProduct, near: mean, module: module, svd: svd, &spectra) : mean
    }
    guard value.isFinite else {
      throw GoraError(
        .data, "\(rawValue) is \(value): the gradient\(ofProduct ? " or the weight" : "") has a NaN or an infinity")
    }
    return value
  }

  private static func absoluteSum(_ pair: WeightGradient, _ ofProduct: Bool) -> Double {
    ofProduct
      ? pair.sumOfPairs { w, g, count in gora_abs_product_sum(w, g, count) } : pair.sumOfGradients { gora_abs_sum($0, $1) }
  }

  private static func squareSum(_ pair: WeightGradient, _ ofProduct: Bool) -> Double {
    ofProduct
      ? pair.sumOfPairs { w, g, count in gora_square_product_sum(w, g, count) }
      : pair.sumOfGradients { gora_sum_squares($0, $1) }
  }

  /// A function of the singular values.
  /// - Parameter mean: of the entries' magnitudes, above 0.
  private func spectrum(
    _ kind: Kind, _ pair: WeightGradient, _ ofProduct: Bool, near mean: Double, module: String, svd: RandomisedSVD,
    _ spectra: inout Spectra
  ) throws(GoraError) -> Double {
    // A power of two brings the entries near 1, exactly: gradients of 1e-20 must not underflow inside the decomposition.
    let unit = Double(sign: .plus, exponent: mean.exponent, significand: 1)
    if kind == .nuclearEstimate {
      let matrix = pair.scaled(by: 1 / unit, weighted: ofProduct)
      let values = try svd.singularValues(of: matrix, rows: pair.rows, columns: pair.columns, stream: "gora-score/\(module)")
      return values.reduce(0) { $0 + log1p(unit * Double($1)) }
    }
    if (ofProduct ? spectra.ofProduct : spectra.ofGradient).isEmpty {
      let matrix = pair.scaled(by: 1 / unit, weighted: ofProduct)
      guard let values = LAPACK.singularValues(matrix, rows: pair.rows, columns: pair.columns) else {
        throw GoraError(.data, "the singular value decomposition did not converge")
      }
      if ofProduct { spectra.ofProduct = values } else { spectra.ofGradient = values }
    }
    let values = ofProduct ? spectra.ofProduct : spectra.ofGradient
    switch kind {
    case .spectral: return unit * Double(values[0])
    case .erank: return Self.effectiveRank(values)
    default: return unit * values.reduce(0) { $0 + Double($1) }
    }
  }

  /// exp(−Σ p·ln p), p = σᵢ/Σσ: from 1, where one direction has all, to the number of values, where all are equal.
  static func effectiveRank(_ values: [Float]) -> Double {
    let total = values.reduce(0) { $0 + Double($1) }
    var entropy = 0.0
    for value in values where value > 0 {
      let share = Double(value) / total
      entropy -= share * log(share)
    }
    return exp(entropy)
  }
}

/// Singular values of one weight's gradient, all of them, in a unit of their own; empty until a metric wants them.
package struct Spectra: Sendable {
  /// Of G.
  fileprivate(set) var ofGradient: [Float] = []
  /// Of W⊙G.
  fileprivate(set) var ofProduct: [Float] = []

  package init() {}

  /// The effective rank of G, where its values are known.
  package var effectiveRank: Double? { ofGradient.isEmpty ? nil : ImportanceMetric.effectiveRank(ofGradient) }
}
