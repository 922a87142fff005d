/// What stands beside a frozen weight.
package enum AdapterKind: String, Sendable, CaseIterable {
  /// ΔW = s·B·A (Hu et al. 2021, arXiv 2106.09685).
  case lora
  /// The same with a magnitude for each output (Liu et al. 2024, arXiv 2402.09353).
  case dora
  /// ΔW = s·B·diag(E)·A, of which training leaves some components out (Zhang et al. 2023, arXiv 2303.10512).
  case adalora

  /// As people write it.
  package var title: String {
    switch self {
    case .lora: "LoRA"
    case .dora: "DoRA"
    case .adalora: "AdaLoRA"
    }
  }
}
