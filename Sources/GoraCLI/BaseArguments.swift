import ArgumentParser
import GoraModels

/// How gora-train and gora-eval hold the frozen base; the same words in each.
package struct BaseArguments: ParsableArguments {
  @Option(help: ArgumentHelp("Hold the linears' weights in nf4 (4 bits).", valueName: "type"))
  package var quantize: Quantization?

  package init() {}
}

extension Quantization: ExpressibleByArgument {}
