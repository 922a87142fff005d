import GoraCore
import GoraFormats

/// The text models of Gemma 3 (Gemma Team 2025; reference: Transformers' Gemma3ForCausalLM): as Gemma 2 with norms on the heads of
/// queries and keys in place of caps, and rotary settings of their own for the layers with windows, five of six.
package enum Gemma3: DecoderFamily {
  package static let types = ["gemma3_text"]

  package static func decoder(reading root: JSONField) throws(GoraError) -> DecoderConfig {
    var config = try Gemma2.base(root, vocabularySize: 262_208, maxPositions: 131_072)
    config.hasHeadNorms = true
    config.logitSoftCap = try DecoderConfig.softCap(root, "final_logit_softcapping", default: nil)
    if try root.optional("attn_logit_softcapping") != nil {
      config.notes.append("\"attn_logit_softcapping\" of config.json is not applied for gemma3_text, as in Transformers")
    }
    try readRotary(&config, root)
    let pattern = try root.optional("sliding_window_pattern")?.int(in: 1...65_536) ?? 6
    try Gemma2.setWindows(&config, root) { ($0 + 1) % pattern != 0 }
    if config.windows.allSatisfy({ $0 == nil }) { config.slidingRotary = nil }
    return config
  }

  /// `rope_theta`, `rope_scaling` and `rope_local_base_freq`, or `rope_parameters` with a set for each of both kinds of layers.
  private static func readRotary(_ config: inout DecoderConfig, _ root: JSONField) throws(GoraError) {
    let (parameters, scaling) = (try root.optional("rope_parameters"), try root.optional("rope_scaling"))
    if let field = try root.optional("partial_rotary_factor") {
      throw field.error("\"partial_rotary_factor\" is not supported for gemma3_text")
    }
    if let parameters {
      if let scaling { throw scaling.error("\"rope_scaling\" beside \"rope_parameters\" is not supported for gemma3_text") }
      if let other = try parameters.members.first(where: { !["full_attention", "sliding_attention"].contains($0.key) }) {
        throw other.field.error(
          "\"\(other.key)\" in \"rope_parameters\" is not supported for gemma3_text",
          hint: "expected a set for \"full_attention\" and one for \"sliding_attention\"")
      }
    }
    if let older = try scaling?.optional("type"), try scaling?.optional("rope_type") == nil {
      throw older.error("rotary settings of \"type\" are not read for gemma3_text", hint: "expected \"rope_type\"")
    }
    let (headSize, maxPositions) = (config.headSize, config.maxPositions)
    config.rotary = try RotaryScaling(
      try parameters?.optional("full_attention") ?? scaling, beside: root, thetaKey: "rope_theta", defaultTheta: 1_000_000,
      headSize: headSize, maxPositions: maxPositions, notes: &config.notes)
    config.slidingRotary = try RotaryScaling(
      try parameters?.optional("sliding_attention"), beside: root, thetaKey: "rope_local_base_freq", defaultTheta: 10_000,
      headSize: headSize, maxPositions: maxPositions, notes: &config.notes)
  }
}
