import ArgumentParser
import GoraCore
import GoraStages
import GoraText

/// How gora-grad, gora-train and gora-eval read their rows; the same words in each.
package struct DataArguments: ParsableArguments {
  @Option(
    name: .long, parsing: .singleValue,
    help: ArgumentHelp("Rows: JSON or JSON Lines, .gz, .zst, or folders of images (repeatable).", valueName: "file"))
  package var data: [String]

  @OptionGroup package var rows: RowArguments

  @Option(
    name: .customLong("show-rows"), help: ArgumentHelp("Print so many rows as the model sees them, and end.", valueName: "n"),
    transform: count())
  package var showRows: Int?

  package init() {}

  package var options: DataOptions { rows.options(for: data) }

  /// Which rows are to be shown, where that is asked for.
  package func shown(of model: String) -> ShowRowsStage.Configuration? {
    showRows.map { ShowRowsStage.Configuration(model: model, data: options, count: $0) }
  }
}

/// How rows become tokens, wherever they come from.
package struct RowArguments: ParsableArguments {
  @Option(
    help: ArgumentHelp("Prompts' template: alpaca, chatml, …, or a file.", valueName: "name"), transform: text)
  package var template: String?

  @Option(
    name: .customLong("max-length"),
    help: ArgumentHelp("Tokens kept of a row.", valueName: "n", standard: DataOptions.standardLength), transform: count(from: 2))
  package var maxLength: Int?

  @Option(help: ArgumentHelp("The data are GLUE's .tsv files of this task.", valueName: "task"))
  package var glue: GLUETask?

  @Option(help: "In whose words GLUE asks: lora-ga (the default) or t5.")
  package var prompts: GLUETask.Wording?

  @Option(help: ArgumentHelp("What is learnt.", valueName: "part"))
  package var learn: LearntPart?

  @Option(
    help: ArgumentHelp("Classes of images: a known set's, or a file's lines.", valueName: "set|file"), transform: text)
  package var classes: String?

  @Option(
    help: ArgumentHelp("Texts about {class} that images are compared with.", valueName: "set|file"), transform: text)
  package var templates: String?

  @Flag(name: .customLong("skip-bad-rows"), help: "Count rows that cannot be read instead of stopping.")
  package var skipsBadRows = false

  package init() {}

  package func validate() throws {
    if glue == nil, prompts != nil { throw ValidationError("--prompts goes with --glue") }
  }

  package func options(for data: [String]) -> DataOptions {
    var options = DataOptions(
      paths: data, template: template, maxLength: maxLength ?? DataOptions.standardLength, skipsBadRows: skipsBadRows,
      learning: learn ?? .answers)
    options.glue = glue.map { ($0, prompts ?? .loraGA) }
    options.classes = classes
    options.templates = templates
    return options
  }
}

extension PrecisionChoice: ExpressibleByArgument {}
extension LearntPart: ExpressibleByArgument {}
extension GLUETask.Wording: ExpressibleByArgument {}

extension GLUETask: ExpressibleByArgument {
  package init?(argument: String) { self.init(named: argument) }
  package static var allValueStrings: [String] { names }
}

extension CommonOptions {
  /// What the stage records of this run.
  package func context(_ tool: String) throws(GoraError) -> RunContext {
    RunContext(
      tool: tool, version: Version.number, arguments: Array(CommandLine.arguments.dropFirst()), seed: seed,
      threads: try threadCount(), recordsProvenance: !omitsProvenance)
  }
}
