import ArgumentParser
import GoraModels

/// How gora-train and gora-eval hold the frozen base; the same words in each.
package struct BaseArguments: ParsableArguments {
  @Option(help: ArgumentHelp("Linears' weights in 4 bits.", valueName: "type"))
  package var quantize: Quantization?

  package init() {}
}

extension Quantization: ExpressibleByArgument {}
