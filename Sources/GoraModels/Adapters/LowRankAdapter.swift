import CGoraKernels
import GoraCore

/// A low-rank product beside a frozen weight: ΔW = s·B·A (Hu et al. 2021), always in f32.
package final class LowRankAdapter {
  package let rank: Int
  /// s, the factor of the forward pass.
  package var scaling: Float
  /// A [r, in].
  package let a: Parameter
  /// B [out, r].
  package let b: Parameter
  /// What stands between B and A; nil: nothing does.
  package var innerFactor: (any InnerFactor)?
  /// What scales the outputs of W + s·B·A; nil: nothing does.
  package var outputScale: (any OutputScale)?
  /// The share of inputs that training leaves out of the product, anew at each step (PEFT's `lora_dropout`).
  package var dropoutRate = 0.0
  /// Which ones, while a step of training runs; nil: none.
  package var dropoutKey: UInt64?

  package init(module: String, rank: Int, scaling: Float, a: FloatBuffer, b: FloatBuffer, inputSize: Int, outputSize: Int) {
    self.rank = rank
    self.scaling = scaling
    self.a = Parameter(name: "\(module).lora_A.weight", shape: [rank, inputSize], values: a)
    self.b = Parameter(name: "\(module).lora_B.weight", shape: [outputSize, rank], values: b)
  }

  /// All that may learn.
  package var parameters: [Parameter] {
    [a, b] + (vector.map { [$0] } ?? [])
  }
  /// What the kind has besides A and B.
  package var vector: Parameter? { outputScale?.vector ?? innerFactor?.vector }
  /// A [r, in], or what an inner factor makes of it.
  var down: UnsafePointer<Float> { innerFactor.map { UnsafePointer($0.product.pointer) } ?? a.vector }

  /// Takes in what the factors are now, where something is computed of them.
  func refresh(weight: WeightMatrix, workspace: Workspace) {
    innerFactor?.refresh(a)
    outputScale?.refresh(self, weight: weight, workspace: workspace)
  }
  /// Whether backward needs x: B's gradient is had of x·Aᵀ, which forward keeps.
  var needsInput: Bool { a.gradient != nil || innerFactor?.vector.gradient != nil }
  /// Floats a token that forward keeps for backward: x·Aᵀ, and V·x where the outputs are scaled.
  var keptFloats: Int { rank + (outputScale == nil ? 0 : b.shape[0]) }

  /// y = x without the inputs left out, the others over 1 − rate; or adds it to y.
  func drop(
    _ x: UnsafePointer<Float>, count: Int, into y: UnsafeMutablePointer<Float>, adds: Bool = false
  ) {
    let key = dropoutKey ?? 0
    let threshold = UInt32(min(Double(UInt32.max), dropoutRate * 0x1p32))
    let scale = Float(1 / (1 - dropoutRate))
    parallelRanges(count, grain: 32_768, alignment: 16) {
      gora_dropout(x + $0.lowerBound, y + $0.lowerBound, $0.lowerBound, $0.count, key, threshold, scale, adds)
    }
  }
}

/// A vector that learns between B and A, so that another matrix stands for A.
package protocol InnerFactor: AnyObject {
  var vector: Parameter { get }
  /// What stands for A [r, in], as `refresh` left it.
  var product: FloatBuffer { get }
  /// Takes in what the vector and A are now.
  func refresh(_ a: Parameter)
  /// Adds the gradients of the vector and of A, where they learn, for the gradient g [r, in] of the product.
  func addGradients(_ g: UnsafePointer<Float>, a: Parameter)
}

/// A vector that learns, and with it scales each output of V = W + s·B·A, but not the bias.
package protocol OutputScale: AnyObject {
  var vector: Parameter { get }
  /// Takes in what the vector, A and B are now.
  func refresh(_ adapter: LowRankAdapter, weight: WeightMatrix, workspace: Workspace)
  /// y = the scaled z, for z = V·x [T, out] or a gradient; y may be z.
  func scale(_ z: UnsafePointer<Float>, tokens: Int, into y: UnsafeMutablePointer<Float>)
  /// Adds the vector's gradient, where it learns, for z = V·x and the gradient dy of the scaled outputs.
  func addGradient(_ dy: UnsafePointer<Float>, z: UnsafePointer<Float>, tokens: Int)
}
