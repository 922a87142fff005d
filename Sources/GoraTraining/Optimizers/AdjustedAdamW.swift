import GoraCore
import GoraModels

/// AdamW on gradients that are changed first, an adapter at a time.
final class AdjustedAdamW: Optimizer {
  private let adapters: [LowRankAdapter]
  private let adamW: AdamW
  private let adjust: (LowRankAdapter) -> Void

  /// - Parameter adjust: changes the gradients of an adapter's factors, linearly in them.
  init(_ adapters: [LowRankAdapter], _ adamW: AdamW, adjust: @escaping (LowRankAdapter) -> Void) {
    self.adapters = adapters
    self.adamW = adamW
    self.adjust = adjust
  }

  var parameters: [Parameter] { adamW.parameters }
  var state: [OptimizerTensor] { adamW.state }
  var step: Int {
    get { adamW.step }
    set { adamW.step = newValue }
  }

  func update(lr: Double, gradientScale: Float) {
    for adapter in adapters { adjust(adapter) }
    adamW.update(lr: lr, gradientScale: gradientScale)
  }
}
