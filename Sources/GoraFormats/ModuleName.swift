/// Linear modules and their weights, as checkpoints name them.
package enum ModuleName {
  private static let suffix = ".weight"

  /// The weight of `model.layers.0.self_attn.q_proj`.
  package static func weight(of module: String) -> String { module + suffix }

  /// The module of a weight; another parameter's own name.
  package static func of(weight name: String) -> String { name.hasSuffix(suffix) ? String(name.dropLast(suffix.count)) : name }

  /// The path in a whole CLIP model of a module of a bare vision tower, whose own paths lack the tower's name since Transformers 5; other
  /// models' as they are.
  package static func whole(_ module: String) -> String {
    module.hasPrefix("encoder.layers.") ? "vision_model." + module : module
  }
}
