import ArgumentParser
import GoraModels

/// How gora-train and gora-eval hold the frozen base; the same words in each.
package struct BaseArguments: ParsableArguments {
  @Option(help: ArgumentHelp("Linears' weights in 4 bits.", valueName: "type"))
  package var quantize: Quantization?

  package init() {}
}

/// What adapter folders call their base; the same words in each stage that writes one.
package struct BaseNameArguments: ParsableArguments {
  @Option(
    name: .customLong("base-model"),
    help: ArgumentHelp("The base's name in the folder (default: its path).", valueName: "name"))
  package var baseModel: String?

  package init() {}
}

/// What gora-grad, gora-train and gora-eval do where memory is short; the same words in each.
package struct MemoryArguments: ParsableArguments {
  @Flag(name: .customLong("ignore-memory"), help: "Go on where too little memory is free.")
  package var ignoresMemory = false

  package init() {}
}

extension Quantization: ExpressibleByArgument {}
