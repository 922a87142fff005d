/// Linear modules and their weights, as checkpoints name them.
package enum ModuleName {
  private static let suffix = ".weight"

  /// The weight of `model.layers.0.self_attn.q_proj`.
  package static func weight(of module: String) -> String { module + suffix }

  /// The module of a weight; another parameter's own name.
  package static func of(weight name: String) -> String { name.hasSuffix(suffix) ? String(name.dropLast(suffix.count)) : name }
}
