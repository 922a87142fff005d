import CGoraKernels
import GoraCore
import GoraFormats

/// Scratch a model's layers share.
package final class Workspace {
  package let matmul = MatmulScratch()
  /// s·dy·B of the adapter at work [T, r].
  let low = FloatBuffer()
  /// Inputs that dropout has left, or the others, and their gradient [T, in].
  let dropped = FloatBuffer()
  /// dy as the scale of the outputs at work leaves it [T, out].
  let scaled = FloatBuffer()
  /// The gradient of what stands for A of the adapter at work [r, in], or of Bᵀ [r, out].
  let product = FloatBuffer()
}

/// y = x·Wᵀ + b + s·(x'·Aᵀ)·Bᵀ, where x' is x, or in training what dropout leaves of it; the frozen weight W [out, in] keeps its storage
/// kind. With a second product that does not learn it can be another weight, W + s·B₀·A₀, without a copy of W.
///
/// An adapter may scale all of it but b (`OutputScale`), by c below. With dropout, what it scales sees x' alone, and W as it is what was left
/// out: y = (x − x')·Wᵀ + b + c⊙V·x' (PEFT's `lora/dora.py`, `forward` without `base_result`).
package final class Linear {
  /// The module's path, such as `model.layers.0.self_attn.q_proj`.
  package let name: String
  package let weight: Parameter
  package let bias: Parameter?
  package var adapter: LowRankAdapter?
  /// A product that belongs to the frozen weight.
  package var frozenAdapter: LowRankAdapter?
  /// Shown x [T, in] by each forward pass.
  package var inputObserver: ((UnsafePointer<Float>) -> Void)?

  package var inputSize: Int { weight.shape[1] }
  package var outputSize: Int { weight.shape[0] }

  package init(name: String, outputSize: Int, inputSize: Int, hasBias: Bool, from source: any ParameterSource) throws(GoraError) {
    self.name = name
    weight = try source.linearWeight(ModuleName.weight(of: name), shape: [outputSize, inputSize])
    bias = hasBias ? try source.parameter("\(name).bias", shape: [outputSize]) : nil
  }

  /// Whether anything here learns.
  package var learns: Bool {
    weight.gradient != nil || bias?.gradient != nil || adapter?.parameters.contains { $0.gradient != nil } ?? false
  }
  /// Whether backward needs x: B's gradient is had of x·Aᵀ, which forward keeps.
  var needsInput: Bool { weight.gradient != nil || adapter?.needsInput ?? false }

  /// Takes in what the adapter's factors are now, where something is computed of them: before the passes that follow a change.
  package func refresh(workspace: Workspace) {
    adapter?.refresh(weight: weight.matrix, workspace: workspace)
  }

  /// - Parameters:
  ///   - x: [T, in]
  ///   - y: [T, out], overwritten
  ///   - down: where x·Aᵀ [T, r] is kept for backward, and V·x [T, out] behind it where the outputs are scaled
  package func forward(
    _ x: UnsafePointer<Float>, tokens: Int, into y: UnsafeMutablePointer<Float>, down: FloatBuffer, workspace: Workspace
  ) {
    inputObserver?(x)
    let seen = adapter.map { input(x, of: $0, tokens: tokens, workspace) } ?? x
    weight.matrix.multiply(adapter?.outputScale == nil ? x : seen, tokens: tokens, into: y, scratch: workspace.matmul)
    addRest(x, seen: seen, tokens: tokens, to: y, down: down, workspace: workspace)
  }

  /// `forward` of several that see the same x: it is rounded once for their frozen weights, which are multiplied together where tokens are
  /// few.
  package static func forward(
    _ x: UnsafePointer<Float>, tokens: Int, by linears: [(linear: Linear, y: UnsafeMutablePointer<Float>, down: FloatBuffer)],
    workspace: Workspace
  ) {
    guard linears.allSatisfy({ $0.linear.adapter?.outputScale == nil }) else {
      for (linear, y, down) in linears { linear.forward(x, tokens: tokens, into: y, down: down, workspace: workspace) }
      return
    }
    for (linear, _, _) in linears { linear.inputObserver?(x) }
    WeightMatrix.multiply(
      x, tokens: tokens, by: linears.map { ($0.linear.weight.matrix, $0.y) }, scratch: workspace.matmul)
    for (linear, y, down) in linears {
      let seen = linear.adapter.map { linear.input(x, of: $0, tokens: tokens, workspace) } ?? x
      linear.addRest(x, seen: seen, tokens: tokens, to: y, down: down, workspace: workspace)
    }
  }

  /// Adds what stands beside the frozen weight's product, which y holds.
  /// - Parameter seen: what the adapter sees of x
  private func addRest(
    _ x: UnsafePointer<Float>, seen: UnsafePointer<Float>, tokens: Int, to y: UnsafeMutablePointer<Float>, down: FloatBuffer,
    workspace: Workspace
  ) {
    let scale = adapter?.outputScale
    if scale == nil { addBias(to: y, tokens: tokens) }
    if let frozenAdapter {
      add(frozenAdapter, x, tokens: tokens, to: y, low: workspace.low.reserve(tokens * frozenAdapter.rank))
    }
    guard let adapter, adapter.rank > 0 else { return }
    let kept = down.reserve(tokens * adapter.keptFloats)
    add(adapter, seen, tokens: tokens, to: y, low: kept)
    if let scale {
      let z = kept + tokens * adapter.rank
      z.update(from: y, count: tokens * outputSize)
      scale.scale(z, tokens: tokens, into: y)
      addBias(to: y, tokens: tokens)
      if adapter.dropoutKey != nil {
        let rest = workspace.dropped.pointer
        subtract(rest, from: x, into: rest, count: tokens * inputSize)
        weight.matrix.multiply(rest, tokens: tokens, into: y, accumulates: true, scratch: workspace.matmul)
      }
    }
  }

  /// z = y − x; z may be either.
  private func subtract(
    _ x: UnsafePointer<Float>, from y: UnsafePointer<Float>, into z: UnsafeMutablePointer<Float>, count: Int
  ) {
    parallelRanges(count, grain: 32_768, alignment: 16) { range in
      for i in range { z[i] = y[i] - x[i] }
    }
  }

  private func addBias(to y: UnsafeMutablePointer<Float>, tokens: Int) {
    guard let bias else { return }
    parallelRanges(tokens, grain: 64) { range in
      gora_add_rows(y + range.lowerBound * outputSize, bias.vector, range.count, outputSize)
    }
  }

  /// What the adapter sees of x.
  private func input(
    _ x: UnsafePointer<Float>, of adapter: LowRankAdapter, tokens: Int, _ workspace: Workspace
  ) -> UnsafePointer<Float> {
    guard adapter.dropoutKey != nil else { return x }
    let dropped = workspace.dropped.reserve(tokens * inputSize)
    adapter.drop(x, count: tokens * inputSize, into: dropped)
    return UnsafePointer(dropped)
  }

  /// y += s·(x·Aᵀ)·Bᵀ, with x·Aᵀ [T, r] left in `low`.
  private func add(
    _ adapter: LowRankAdapter, _ x: UnsafePointer<Float>, tokens: Int, to y: UnsafeMutablePointer<Float>,
    low: UnsafeMutablePointer<Float>
  ) {
    let r = adapter.rank
    guard r > 0 else { return }
    Matmul.sgemm(
      transposeB: true, m: tokens, n: r, k: inputSize, a: x, lda: inputSize, b: adapter.down, ldb: inputSize, c: low, ldc: r)
    Matmul.sgemm(
      transposeB: true, m: tokens, n: outputSize, k: r, alpha: adapter.scaling, a: low, lda: r, b: adapter.b.vector, ldb: r,
      beta: 1, c: y, ldc: outputSize)
  }

  /// Adds this layer's gradients to their sums and, where `dx` is given, puts dy·∂y/∂x there or adds it.
  ///
  /// dW += dyᵀ·x, dB += s·dyᵀ·(x·Aᵀ), dA += s·(dy·B)ᵀ·x, dx = dy·W + s·(dy·B)·A; with scaled outputs g = c⊙dy
  /// stands for dy. With dropout D, dx = dy·W + D(s·(dy·B)·A), or dy·W + D((g − dy)·W + s·(g·B)·A).
  package func backward(
    _ dy: UnsafePointer<Float>, x: UnsafePointer<Float>?, down: FloatBuffer, tokens: Int,
    dx: UnsafeMutablePointer<Float>?, accumulates: Bool = false, workspace: Workspace
  ) {
    if let gradient = bias?.gradient {
      parallelRanges(outputSize, grain: 64, alignment: 16) {
        gora_column_sums(dy, gradient.pointer, tokens, outputSize, $0.lowerBound, $0.upperBound)
      }
    }
    let unscaled = dy
    var dy = dy
    if let adapter, let scale = adapter.outputScale {
      scale.addGradient(dy, z: down.pointer + tokens * adapter.rank, tokens: tokens)
      let scaled = workspace.scaled.reserve(tokens * outputSize)
      scale.scale(dy, tokens: tokens, into: scaled)
      dy = UnsafePointer(scaled)
    }
    if let gradient = weight.gradient, let x {
      weight.matrix.addGradient(
        dy, x, tokens: tokens, to: gradient.pointer, accumulates: !weight.gradientIsStale, scratch: workspace.matmul)
      weight.gradientIsStale = false
    }
    if let dx {
      weight.matrix.multiplyTransposed(
        adapter?.dropoutKey == nil ? dy : unscaled, tokens: tokens, into: dx, accumulates: accumulates, scratch: workspace.matmul)
    }
    if let frozenAdapter, dx != nil {
      backward(through: frozenAdapter, dy, unscaled: unscaled, x: nil, down: down, tokens: tokens, dx: dx, workspace: workspace)
    }
    if let adapter {
      backward(through: adapter, dy, unscaled: unscaled, x: x, down: down, tokens: tokens, dx: dx, workspace: workspace)
    }
    if weight.gradient != nil { weight.gradientIsDone?() }
  }

  /// dB += s·dyᵀ·(x·Aᵀ), dA += s·(dy·B)ᵀ·x, dx += s·(dy·B)·A; with an inner factor its product stands for A.
  private func backward(
    through adapter: LowRankAdapter, _ dy: UnsafePointer<Float>, unscaled: UnsafePointer<Float>, x: UnsafePointer<Float>?,
    down: FloatBuffer, tokens: Int, dx: UnsafeMutablePointer<Float>?, workspace: Workspace
  ) {
    let r = adapter.rank
    guard r > 0 else { return }
    let low = workspace.low.reserve(tokens * r)
    Matmul.sgemm(
      m: tokens, n: r, k: outputSize, alpha: adapter.scaling, a: dy, lda: outputSize, b: adapter.b.vector, ldb: r, c: low, ldc: r)
    if let gradient = adapter.b.gradient {
      // Libraries sum up a few long rows up to three times as fast as many short ones.
      let transposed = workspace.product.reserve(r * outputSize)
      Matmul.sgemm(
        transposeA: true, m: r, n: outputSize, k: tokens, alpha: adapter.scaling, a: down.pointer, lda: r, b: dy,
        ldb: outputSize, c: transposed, ldc: outputSize)
      parallelRanges(outputSize, grain: max(16, 65_536 / r)) {
        gora_add_transposed(gradient.pointer, transposed, outputSize, r, $0.lowerBound, $0.upperBound)
      }
    }
    if adapter.needsInput, let x {
      let product = adapter.innerFactor == nil ? nil : workspace.product.reserve(r * inputSize)
      if let sum = product ?? adapter.a.gradient?.pointer {
        Matmul.sgemm(
          transposeA: true, m: r, n: inputSize, k: tokens, a: low, lda: r, b: input(x, of: adapter, tokens: tokens, workspace),
          ldb: inputSize, beta: product == nil ? 1 : 0, c: sum, ldc: inputSize)
      }
      if let product { adapter.innerFactor?.addGradients(product, a: adapter.a) }
    }
    if let dx, adapter.dropoutKey != nil {
      let dropped = workspace.dropped.reserve(tokens * inputSize)
      if adapter.outputScale != nil {
        let scaled = workspace.scaled.pointer
        subtract(unscaled, from: scaled, into: scaled, count: tokens * outputSize)
        weight.matrix.multiplyTransposed(scaled, tokens: tokens, into: dropped, scratch: workspace.matmul)
      }
      Matmul.sgemm(
        m: tokens, n: inputSize, k: r, a: low, lda: r, b: adapter.down, ldb: inputSize,
        beta: adapter.outputScale == nil ? 0 : 1, c: dropped, ldc: inputSize)
      adapter.drop(dropped, count: tokens * inputSize, into: dx, adds: true)
    } else if let dx {
      Matmul.sgemm(
        m: tokens, n: inputSize, k: r, a: low, lda: r, b: adapter.down, ldb: inputSize, beta: 1, c: dx, ldc: inputSize)
    }
  }
}
