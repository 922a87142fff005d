import GoraFormats
import GoraModels

/// A plan as the Python expression that makes the same adapters in PEFT (`peft.LoraConfig`), ready to paste.
///
/// Every module is named by its full path, in `target_modules` and, where its rank is not the common one, in `rank_pattern`:
/// PEFT takes a key for a regular expression on the end of a name, and only full paths match one module each.
enum PEFTConfigText {
  static func text(_ plan: RankPlan) -> String {
    // PEFT wants at least rank 1 wherever it is told to adapt.
    let adapted = plan.modules.filter { $0.rank > 0 }
    var out = "LoraConfig(\n"
    if let type = taskType(of: adapted.map(\.name)) { out += "    task_type=\"\(type)\",\n" }
    out += "    r=\(plan.referenceRank),\n"
    out += "    lora_alpha=\(JSON(whole: plan.alpha).compact()),\n"
    out += "    use_rslora=\(plan.scaling == .rslora ? "True" : "False"),\n    target_modules=[\n"
    for module in adapted { out += "        \(quoted(module.name)),\n" }
    out += "    ],\n    rank_pattern={\n"
    for module in adapted where module.rank != plan.referenceRank {
      out += "        \(quoted(module.name)): \(module.rank),\n"
    }
    out += "    },\n"
    if plan.scaling == .constant {
      out += "    alpha_pattern={\n"
      for module in adapted where module.rank != plan.referenceRank {
        out += "        \(quoted(module.name)): \(JSON(whole: plan.factor(rank: module.rank) * Double(module.rank)).compact()),\n"
      }
      out += "    },\n"
    }
    return out + ")\n"
  }

  /// That of the family whose modules are called so; nil where it has none.
  private static func taskType(of modules: [String]) -> String? {
    ModelFamilies.all.first { family in modules.allSatisfy { name in family.blockNames.contains { name.hasPrefix($0) } } }?
      .taskType
  }

  /// A JSON string is a Python string too.
  private static func quoted(_ text: String) -> String { JSON(text).compact() }
}
