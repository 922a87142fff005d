import ArgumentParser
import GoraCore
import GoraStages
import GoraText

/// How gora-grad, gora-train and gora-eval read their rows; the same words in each.
package struct DataArguments: ParsableArguments {
  @Option(
    name: .long, parsing: .singleValue,
    help: ArgumentHelp("Rows: JSON or JSON Lines, .gz, .zst (repeatable).", valueName: "file"))
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

  @Option(help: ArgumentHelp("What is learnt.", valueName: "part"))
  package var learn: LearntPart?

  @Flag(name: .customLong("skip-bad-rows"), help: "Count rows that cannot be read instead of stopping.")
  package var skipsBadRows = false

  package init() {}

  package func options(for data: [String]) -> DataOptions {
    DataOptions(
      paths: data, template: template, maxLength: maxLength ?? DataOptions.standardLength, skipsBadRows: skipsBadRows,
      learning: learn ?? .answers)
  }
}

extension PrecisionChoice: ExpressibleByArgument {}
extension LearntPart: ExpressibleByArgument {}

extension CommonOptions {
  /// What the stage records of this run.
  package func context(_ tool: String) throws(GoraError) -> RunContext {
    RunContext(
      tool: tool, version: Version.number, arguments: Array(CommandLine.arguments.dropFirst()), seed: seed,
      threads: try threadCount(), recordsProvenance: !omitsProvenance)
  }
}
