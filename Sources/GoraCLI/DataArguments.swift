import ArgumentParser
import GoraCore
import GoraStages

/// How gora-grad, gora-train and gora-eval read their rows; the same words in each.
package struct DataArguments: ParsableArguments {
  @Option(
    name: .long, parsing: .singleValue,
    help: ArgumentHelp("Rows: JSON or JSON Lines, .gz, .zst (repeatable).", valueName: "file"))
  package var data: [String]

  @OptionGroup package var rows: RowArguments

  package init() {}

  package func options() throws(GoraError) -> DataOptions { try rows.options(for: data) }
}

/// How rows become tokens, wherever they come from.
package struct RowArguments: ParsableArguments {
  @Option(help: ArgumentHelp("plain, alpaca, metamath, chatml, llama3, tokenizer, file.", valueName: "name"))
  package var template: String?

  @Option(name: .customLong("max-length"), help: ArgumentHelp("Tokens kept of a row.", valueName: "n"))
  package var maxLength = 512

  @Flag(name: .customLong("skip-bad-rows"), help: "Count rows that cannot be read instead of stopping.")
  package var skipsBadRows = false

  package init() {}

  package func options(for data: [String]) throws(GoraError) -> DataOptions {
    guard maxLength > 1 else { throw GoraError(.usage, "--max-length is \(maxLength); expected at least 2") }
    return DataOptions(paths: data, template: template, maxLength: maxLength, skipsBadRows: skipsBadRows)
  }
}

extension PrecisionChoice: ExpressibleByArgument {}

extension CommonOptions {
  /// What the stage records of this run.
  package func context(_ tool: String) throws(GoraError) -> RunContext {
    RunContext(
      tool: tool, version: Version.number, arguments: Array(CommandLine.arguments.dropFirst()), seed: seed,
      threads: try threadCount(), recordsProvenance: !omitsProvenance)
  }
}

/// Refuses counts below one by the option's name.
package func requirePositive(_ value: Int?, _ option: String) throws(GoraError) {
  if let value, value < 1 { throw GoraError(.usage, "\(option) is \(value); expected at least 1") }
}
