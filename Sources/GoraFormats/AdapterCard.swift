import GoraCore

/// The README.md of an adapter folder, as the Hub shows it: what it is, how it was made, and how each reader loads it.
struct AdapterCard {
  let adapter: Adapter
  let profile: AdapterProfile
  let baseModel: String
  let provenance: Provenance?

  static let name = "README.md"

  var text: String {
    let modules = adapter.modules.filter { $0.rank > 0 }
    let most = modules.map(\.rank).max() ?? 0
    let ranks = modules.map { profile == .padded ? most : $0.rank }
    let least = ranks.min() ?? 0
    let parameters = zip(modules, ranks).reduce(0) { $0 + $1.1 * ($1.0.shape[0] + $1.0.shape[1]) + ($1.0.vector?.count ?? 0) }
    let kind = type(of: adapter.layout)
    var lines = [
      "---", "base_model: \(JSON(baseModel).compact())", "library_name: peft", "tags:", "- lora", "- gora", "---", "",
      "# \(kind.title) adapter for \(baseModel)", "",
      "| | |", "|---|---|",
      "| base | `\(baseModel)`" + (adapter.model.map { ", \($0)" } ?? "") + " |",
      "| modules | \(modules.count) |",
      "| ranks | \(least == most ? "\(least)" : "\(least) to \(most), mean \(NumberText.significant(mean(ranks), 3))") |",
      "| parameters | \(NumberText.grouped(parameters)) |",
      "| profile | \(profile.rawValue) |",
    ]
    if let method = adapter.start?["method"]?.text { lines.append("| start | \(method) |") }
    if let quantization = adapter.baseQuantization { lines.append("| base's weights in training | \(quantization) |") }
    lines += ["", "## Loading", ""] + loading(largest: most)
    if let steps = provenance?.cardLines, !steps.isEmpty { lines += ["", "## How it was made", ""] + steps }
    return lines.joined(separator: "\n") + "\n"
  }

  private func mean(_ ranks: [Int]) -> Double { Double(ranks.reduce(0, +)) / Double(max(1, ranks.count)) }

  private func loading(largest: Int) -> [String] {
    let kind = type(of: adapter.layout)
    // PEFT reads no GGUF file: there the adapter belongs beside the checkpoint.
    let checkpoint = baseModel.hasSuffix(".gguf") ? "the-checkpoint-of-this-GGUF-file" : baseModel
    let isDecoder = adapter.taskType == "CAUSAL_LM"
    let auto = isDecoder ? "AutoModelForCausalLM" : adapter.taskType == "SEQ_2_SEQ_LM" ? "AutoModelForSeq2SeqLM" : "AutoModel"
    var lines = [
      "PEFT:", "", "```python", "from peft import PeftModel", "from transformers import \(auto)", "",
      "base = \(auto).from_pretrained(\(JSON(checkpoint).compact()))",
      "model = PeftModel.from_pretrained(base, \"this-folder\")", "```", "",
    ]
    guard isDecoder else { return lines.dropLast() }
    guard kind.isReadElsewhere else {
      lines.append("vLLM and llama.cpp do not know \(kind.title): `gora-export --profile merged` makes a checkpoint for them.")
      return lines
    }
    if let allowed = AdapterReader.vLLMRank(for: largest) {
      lines.append(
        "vLLM\(profile == .native || profile == .ranked ? " from 0.32 on (older ones would compute something else without a message)" : ""): "
          + "`vllm serve BASE --enable-lora --max-lora-rank \(allowed) --lora-modules name=this-folder`")
    } else {
      lines.append("vLLM takes ranks up to 512 and refuses this adapter; `gora-export --max-rank 512` makes a smaller one.")
    }
    lines.append("")
    switch profile {
    case .native, .compact:
      lines.append(
        "llama.cpp: not this folder, of which its converter makes something else without a message. `gora-export --profile gguf` "
          + "writes what it runs exactly.")
    case .ranked, .padded:
      lines.append(
        "llama.cpp: `convert_lora_to_gguf.py --base BASE this-folder`, or `gora-export --profile gguf`; then `llama-cli -m BASE.gguf "
          + "--lora adapter.gguf`")
    }
    return lines
  }
}

extension Provenance {
  /// The commands in order, and what they read by its digest.
  fileprivate var cardLines: [String] {
    var (commands, inputs): ([String], [String]) = ([], [])
    for record in records {
      guard let tool = record["tool"]?.text else { continue }
      let arguments = (record["argv"]?.elements ?? []).compactMap(\.text).map(Self.quoted)
      commands.append("    " + ([tool] + arguments).joined(separator: " "))
      for input in record["inputs"]?.elements ?? [] {
        guard let path = input["path"]?.text, let digest = input["sha256"]?.text else { continue }
        let line = "| `\(Self.quoted(path))` | `\(digest)` |"
        if !inputs.contains(line) { inputs.append(line) }
      }
    }
    return commands + (inputs.isEmpty ? [] : ["", "| read | SHA-256 |", "|---|---|"] + inputs)
  }

  /// As a shell takes it, on one line.
  private static func quoted(_ text: String) -> String {
    let plain = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./,:=+%@")
    return !text.isEmpty && text.allSatisfy(plain.contains) ? text : JSON(text).compact()
  }
}
