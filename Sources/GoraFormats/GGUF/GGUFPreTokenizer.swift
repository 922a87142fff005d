import GoraCore

/// How a byte-level tokenizer cuts a text, by `tokenizer.ggml.pre`: what llama.cpp does for that name, as tokenizer.json says it.
struct GGUFPreTokenizer {
  /// Names that llama.cpp treats alike.
  let names: [String]
  /// What is done with a text before it is cut.
  var normalizer: JSON = nil
  /// The steps before the byte-level one.
  let steps: [JSON]
  /// Whether the byte-level step cuts as GPT-2 does.
  var cutsAsGPT2 = false
  /// Whether a word that is a token is not merged.
  var ignoresMerges = false
  /// Whether the begin token stands before a text where the file does not say.
  var addsBegin = false

  static let all: [GGUFPreTokenizer] = [
    GGUFPreTokenizer(
      names: [
        "gpt-2", "phi-2", "olmo", "mpt", "jais", "trillion", "granite-docling", "gigachat", "a.x-4.0", "mellum", "exaone4",
      ], steps: [], cutsAsGPT2: true),
    GGUFPreTokenizer(
      names: ["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"],
      steps: [.object(["type": "Digits", "individual_digits": true])], cutsAsGPT2: true),
    GGUFPreTokenizer(
      names: ["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "midm-2.0", "lfm2"],
      steps: [split(PreTokenizerExpression.words(digits: 3))], ignoresMerges: true, addsBegin: true),
    GGUFPreTokenizer(names: ["smaug-bpe", "dbrx"], steps: [split(PreTokenizerExpression.words(digits: 3))]),
    // Qwen's own tokenizers compose characters first, which llama.cpp leaves out.
    GGUFPreTokenizer(
      names: ["qwen2"], normalizer: .object(["type": "NFC"]), steps: [split(PreTokenizerExpression.words(digits: 1))]),
    GGUFPreTokenizer(
      names: ["deepseek-r1-qwen", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2", "kormo", "f2llmv2"],
      steps: [split(PreTokenizerExpression.words(digits: 1))]),
    // Also where a file names none.
    GGUFPreTokenizer(
      names: ["default"],
      steps: [#"[\p{P}\$\+<=>\^~\|]+"#, PreTokenizerExpression.gpt2, #"\p{N}+"#, "[0-9][0-9][0-9]"].map(split)),
  ]

  private static func split(_ expression: String) -> JSON {
    .object(["type": "Split", "pattern": .object(["Regex": JSON(expression)]), "behavior": "Isolated", "invert": false])
  }

  /// - Throws: `.data` for a name that is not known.
  static func of(_ file: GGUFFile) throws(GoraError) -> GGUFPreTokenizer {
    let field = file.metadata("tokenizer.ggml.pre")
    let name = try field?.string ?? "default"
    if let known = all.first(where: { $0.names.contains(name) }) { return known }
    throw field?.error(
      "is \"\(name)\", which is not supported", hint: "supported: \(all.flatMap(\.names).joined(separator: ", "))")
      ?? GoraError(.internal, "no pre-tokenizer is called \(name)")
  }

  /// `pre_tokenizer` of tokenizer.json.
  var json: JSON {
    let bytes = JSON.object([
      "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": JSON(cutsAsGPT2),
    ])
    return steps.isEmpty ? bytes : .object(["type": "Sequence", "pretokenizers": JSON(steps + [bytes])])
  }
}
