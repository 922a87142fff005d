import Foundation
import GoraCore
import GoraFormats
import Testing

/// The whole flow on images, by the tools: a new CLIP model of a config.json, gradients, ranks, an adapter, what it takes images for.
@Suite(.serialized) struct ImagesFlowTests {
  private static let config = """
    {"architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": 24, "logit_scale_init_value": 3.0,
     "text_config": {"vocab_size": 304, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4,
       "max_position_embeddings": 77, "eos_token_id": 1, "bos_token_id": 0},
     "vision_config": {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 16,
       "patch_size": 4}}
    """

  /// `tok` (a tokenizer that ends texts), `config.json`, and `images` with the folders of three classes.
  private static func bench() throws -> Workbench {
    let bench = try Workbench()
    let files = FileManager.default
    try files.createDirectory(atPath: bench.file("tok"), withIntermediateDirectories: false)
    let tokenizer = try String(contentsOfFile: "\(Workbench.fixtures)/tokenizer/trained.json", encoding: .utf8)
    let root = try JSONDocument(path: "tokenizer.json", text: Array(tokenizer.utf8)).root
    let members = try root.members.map { member -> JSON.Member in
      guard member.key == "post_processor" else { return JSON.Member(member.key, member.field.value) }
      let template = """
        {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
         {"SpecialToken": {"id": "</s>", "type_id": 0}}], "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [0],
         "tokens": ["<s>"]}, "</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}}
        """
      return JSON.Member(
        member.key, try JSONDocument(path: "template", text: Array(template.utf8)).root.value)
    }
    try bench.write(JSON(.object(members)).pretty(), to: "tok/tokenizer.json")
    // As it is, not as CLIP's class has it.
    try bench.write(#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#, to: "tok/tokenizer_config.json")
    try bench.write(config, to: "config.json")
    let classes = [
      "polka_dotted": ["texture.jpg", "rgb.png", "progressive.jpg"], "a_ship": ["ship.jpg", "weave.jpg"],
      "traffic_sign": ["sign.ppm", "orientation-6.jpg"],
    ]
    for (name, images) in classes {
      try files.createDirectory(atPath: bench.file("images/\(name)"), withIntermediateDirectories: true)
      for image in images {
        try files.copyItem(atPath: "\(Workbench.fixtures)/images/\(image)", toPath: bench.file("images/\(name)/\(image)"))
      }
    }
    return bench
  }

  private static let newModel =
    "gora-train --method full --from-config config.json --model tok --data images --max-steps 2 --batch-size 4 --lr 1e-3 "
    + "--threads 1 --no-provenance -q"

  private static func result(_ bench: Workbench, _ name: String) throws -> JSONField {
    try JSONDocument(path: name, text: bench.bytes(name)).root
  }

  @Test func wholeFlow() throws {
    let bench = try Self.bench()
    let lines = [
      Self.newModel + " -o base",
      "gora-grad --model base --data images --steps 3 --batch-size 2 --targets all-linear -q -o grad.h5",
      "gora-score --model base grad.h5 -q -o scores.json", "gora-plan scores.json --rank 4 -q -o plan.json",
      "gora-init plan.json --model base --gradients grad.h5 -q -o init",
      "gora-train init --model base --data images --batch-size 7 --max-steps 60 --lr 2e-3 --log log.jsonl -q -o tuned",
      "gora-eval --model base --task images --data images -q -o before.json",
      "gora-eval --model base --adapter tuned --task images --data images -q -o after.json",
      "gora-eval --model base --adapter tuned --task loss --data images -q -o loss.json",
    ]
    for line in lines {
      let outcome = try bench.run(line)
      #expect(outcome.status == 0, "\(line): \(outcome.error)")
    }
    // The seven images are learnt by heart.
    let (before, after) = (try Self.result(bench, "before.json"), try Self.result(bench, "after.json"))
    #expect(try after.required("accuracy").double == 1)
    #expect(try after.required("loss").double < 0.5 * before.required("loss").double)
    #expect(abs(try Self.result(bench, "loss.json").required("loss").double - (try after.required("loss").double)) < 1e-6)
    let classes = try after.required("classes").elements
    #expect(try classes.map { try $0.required("class").string } == ["a ship", "polka dotted", "traffic sign"])
    #expect(try after.required("confusion").elements.map { try $0.ints } == [[2, 0, 0], [0, 3, 0], [0, 0, 2]])
    // The same plan as of any model, by the names of CLIPModel.
    let plan = try Self.result(bench, "plan.json").required("modules").elements
    #expect(plan.count == 12)
    #expect(try plan.contains { try $0.required("name").string == "vision_model.encoder.layers.0.self_attn.q_proj" })
    let config = try Self.result(bench, "tuned/adapter_config.json")
    #expect(try config.required("target_modules").elements.count == 12 && config.optional("task_type") == nil)
    let report = try bench.run("gora-report after.json --figure confusion --format svg -o confusion.svg")
    #expect(report.status == 0, "\(report.error)")
    // A merged checkpoint is another model that says the same.
    #expect(try bench.run("gora-export tuned --model base --profile merged -q -o merged").status == 0)
    #expect(try bench.run("gora-eval --model merged --task images --data images -q -o merged.json").status == 0)
    #expect(abs(try Self.result(bench, "merged.json").required("loss").double - (try after.required("loss").double)) < 1e-4)
  }

  /// The text tower and the scale stay as they were drawn; all else of a new model learns.
  @Test func newModelsVisionTowerLearns() throws {
    let bench = try Self.bench()
    #expect(try bench.run(Self.newModel + " -o base").status == 0)
    #expect(try bench.run(Self.newModel.replacing("--lr 1e-3", with: "--lr 2e-3") + " -o other").status == 0)
    let (a, b) = (
      try SafetensorsFile(path: bench.file("base/model.safetensors")),
      try SafetensorsFile(path: bench.file("other/model.safetensors"))
    )
    var moved = 0
    for (x, y) in zip(a.tensors, b.tensors) {
      let isSame = x.bytes.elementsEqual(y.bytes)
      let isVision = x.name.hasPrefix("vision_model.") || x.name == "visual_projection.weight"
      // The gradient of a key's bias is 0 but for rounding.
      if !x.name.hasSuffix("k_proj.bias") { #expect(isSame != isVision, "\(x.name)") }
      moved += isSame ? 0 : 1
    }
    #expect(moved > 30)
  }

  /// Rows, classes and texts from files mean what folders do; what does not fit is refused by name.
  @Test func listsAndRefusals() throws {
    let bench = try Self.bench()
    try #require(try bench.run(Self.newModel + " -o base").status == 0)
    try bench.write(
      """
      {"image": "images/a_ship/ship.jpg", "label": 0}
      {"image": "images/polka_dotted/rgb.png", "label": "dots"}
      """, to: "rows.jsonl")
    try bench.write("ship\ndots\nsign\n", to: "names.txt")
    try bench.write("a {class}\nno {class} at all\n", to: "texts.txt")
    let eval = "gora-eval --model base --task images -q"
    let listed = try bench.run("\(eval) --data rows.jsonl --classes names.txt --templates texts.txt -o listed.json")
    #expect(listed.status == 0, "\(listed.error)")
    let result = try Self.result(bench, "listed.json")
    #expect(try result.required("rows").int == 2 && result.required("templates").elements.count == 2)
    #expect(try result.required("classes").elements[2].optional("accuracy") == nil)
    // Three folders and three classes: in order.
    #expect(try bench.run("\(eval) --data images --classes names.txt -o folders.json").status == 0)

    try bench.write(Array("not an image".utf8), to: "images/a_ship/zero.jpg")
    let cases: [(line: String, status: Int32, problem: String)] = [
      ("\(eval) --data images", 65, "images/a_ship/zero.jpg: not an image of a known kind"),
      ("\(eval) --data images --skip-bad-rows --classes svhn", 65, "label \"a ship\" is none of the 10 classes"),
      ("\(eval) --data rows.jsonl", 65, "label 0 is a number, and nothing says the classes' names"),
      ("\(eval) --data images --classes nowhere", 64, "--classes \"nowhere\" is neither a name nor a file"),
      ("\(eval) --data images --templates names.txt", 65, "\"ship\" has no {class}"),
      ("gora-grad --model base --data images --template alpaca -o grad.h5", 64, "--template wraps rows of text"),
      ("\(eval.replacing("images", with: "gsm8k")) --data images", 64, "--task gsm8k asks for texts"),
      ("gora-eval --model model --task images --data rows.jsonl", 64, "--task images needs a model of images; this one is llama"),
      ("gora-eval --model model --task loss --data rows.jsonl --classes svhn", 64, "--classes goes with models of images"),
      ("gora-grad --model base --data images --show-rows 1", 64, "--show-rows shows texts"),
    ]
    for (line, status, problem) in cases {
      let outcome = try bench.run(line)
      #expect(outcome.status == status && outcome.error.contains(problem), "\(line): \(outcome.status) \(outcome.error)")
    }
    let skipped = try bench.run("\(eval.replacing(" -q", with: "")) --data images --skip-bad-rows -o skipped.json")
    #expect(skipped.status == 0 && skipped.error.contains("1 images skipped, the first: "), "\(skipped.error)")
    try bench.write(#"{"size": 12, "crop_size": 12}"#, to: "base/preprocessor_config.json")
    let small = try bench.run("\(eval) --data images --skip-bad-rows")
    #expect(small.status == 65 && small.error.contains("becomes 12 x 12 pixels"), "\(small.error)")
  }
}
