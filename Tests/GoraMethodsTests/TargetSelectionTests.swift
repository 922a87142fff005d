import GoraCore
import GoraMethods
import Testing

@Suite struct TargetSelectionTests {
  private let names = (0..<12).flatMap { layer in
    ["self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj"].map { "model.layers.\(layer).\($0)" }
  }

  @Test func suffixesMatchAtADot() throws {
    let targets = try TargetSelection("q_proj,1.mlp.up_proj")
    #expect(targets.selects("model.layers.3.self_attn.q_proj"))
    #expect(targets.selects("q_proj"))
    #expect(targets.selects("model.layers.1.mlp.up_proj"))
    #expect(!targets.selects("model.layers.11.mlp.up_proj"))
    #expect(!targets.selects("model.layers.0.xq_proj"))
  }

  @Test func expressionsMustMatchTheWholeName() throws {
    let targets = try TargetSelection(#"/.*\.[01]\.self_attn\.[qv]_proj/"#)
    #expect(names.filter(targets.selects).count == 4)
    #expect(try !TargetSelection("/q_proj/").selects("model.layers.3.self_attn.q_proj"))
  }

  @Test func allLinearTakesWhatTheFamilyGives() throws {
    #expect(try TargetSelection("all-linear").selected(of: names) == names)
    #expect { try TargetSelection("all-linear").selected(of: []) } throws: { ($0 as? GoraError)?.status == .usage }
  }

  @Test(arguments: ["", "q_proj,", "q_proj, v_proj", "/q_proj", "/(/", "/"])
  func malformedTextIsAUsageError(_ text: String) {
    #expect { try TargetSelection(text) } throws: { ($0 as? GoraError)?.status == .usage }
  }

  @Test(arguments: ["q_proj,k_porj", "/x/"]) func whatSelectsNothingIsAUsageError(_ text: String) throws {
    let targets = try TargetSelection(text)
    #expect { try targets.selected(of: names) } throws: { ($0 as? GoraError)?.status == .usage }
  }

  /// Where none are given: the attention's linears where a model has all four, else all.
  @Test func standard() throws {
    let decoder = ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj"].map { "model.layers.0.\($0)" }
    #expect(try TargetSelection.standard.selected(of: decoder) == Array(decoder.prefix(4)))
    let others = ["encoder.block.0.q", "encoder.block.0.k", "encoder.block.0.wo", "other.q_proj"]
    #expect(try TargetSelection.standard.selected(of: others) == others)
    #expect(throws: GoraError.self) { try TargetSelection(TargetSelection.attention).selected(of: others) }
  }
}
