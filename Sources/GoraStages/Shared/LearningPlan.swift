import GoraModels
import GoraTraining

/// What learns, and how its optimizer is made: after the estimate, which counts the memory that this takes.
struct LearningPlan {
  var parameters: [Parameter]
  /// Floats that the optimizer keeps and takes.
  var stateFloats: Int
  /// Whether the optimizer leaves components of adapters out as it goes (AdaLoRA).
  var adaptsRanks = false
  /// For a rate of B over that of A; nil: the rule's own.
  var optimizer: (_ ratio: Double?) -> any Optimizer
}
