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
  /// What makes it DoRA; nil: plain LoRA.
  package var magnitude: Magnitude?
  /// What makes it AdaLoRA; nil: E is 1.
  package var singularValues: SingularValues?
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
    [a, b] + (magnitude.map { [$0.vector] } ?? []) + (singularValues.map { [$0.vector] } ?? [])
  }
  package var kind: AdapterKind { singularValues != nil ? .adalora : magnitude != nil ? .dora : .lora }
  /// A [r, in], or diag(E)·A.
  var down: UnsafePointer<Float> { singularValues.map { UnsafePointer($0.product.pointer) } ?? a.vector }

  /// Takes in what the factors are now, where something is computed of them.
  func refresh(weight: WeightMatrix, workspace: Workspace) {
    singularValues?.refresh(a)
    magnitude?.refresh(self, weight: weight, workspace: workspace)
  }
  /// Whether backward needs x: B's gradient is had of x·Aᵀ, which forward keeps.
  var needsInput: Bool { a.gradient != nil || singularValues?.vector.gradient != nil }
  /// Floats a token that forward keeps for backward: x·Aᵀ, and with a magnitude V·x.
  var keptFloats: Int { rank + (magnitude == nil ? 0 : b.shape[0]) }

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
