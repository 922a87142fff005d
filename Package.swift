// swift-tools-version: 6.2
// gora: GoRA and its baselines as Unix tools. The flow, one executable a stage:
//   gora-grad -> gora-score -> gora-plan -> gora-init -> gora-train -> gora-eval, and gora-export and gora-report.
// Libraries depend strictly downwards, in the order they are listed here.
import PackageDescription

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let libraries: [Target.Dependency] = [
  "GoraCore", "GoraFormats", "GoraImages", "GoraJinja", "GoraText", "GoraMethods", "GoraModels", "GoraTraining", "GoraReport",
  "GoraStages",
]

let package = Package(
  name: "gora",
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0")
  ],
  targets: [
    // System libraries: a module map and a shim of what Swift cannot import.
    .systemLibrary(name: "CHDF5", pkgConfig: "hdf5", providers: [.apt(["libhdf5-dev"])]),
    .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .systemLibrary(name: "CCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(name: "CJPEG", pkgConfig: "libjpeg", providers: [.apt(["libjpeg-dev"])]),
    .systemLibrary(name: "CPNG", pkgConfig: "libpng", providers: [.apt(["libpng-dev"])]),
    // Hot loops, the thread pool, and OpenBLAS/oneDNN behind one matrix product.
    .target(
      name: "CGoraKernels",
      cSettings: [.unsafeFlags(["-O3", "-fno-math-errno", "-ffp-contract=fast"])],
      linkerSettings: [.linkedLibrary("m"), .linkedLibrary("dl"), .linkedLibrary("pthread")]),

    // The few functions of MPI that several processes need, opened at run time: nothing of MPI is needed to build.
    .target(name: "CGoraMPI", linkerSettings: [.linkedLibrary("dl"), .linkedLibrary("pthread")]),

    // What signal handlers do: temporary files removed, mapped files that shrink told.
    .target(name: "CGoraSignals"),

    // JPEG and PNG to pixels, with the long jumps of their libraries kept inside.
    .target(name: "CGoraImages", dependencies: ["CJPEG", "CPNG"]),

    // Buffers, numbers, random numbers, errors, kernels, processes that work together.
    library("GoraCore", ["CGoraKernels", "CGoraMPI"]),
    // Files between the stages: JSON, safetensors, HDF5, plans, adapters.
    library("GoraFormats", ["CGoraSignals", "GoraCore", "CHDF5", "CZstd", "CZlib", "CCrypto"]),
    // Image files to pixels, and those to what a checkpoint's image processor makes of them.
    library("GoraImages", ["CGoraKernels", "CGoraImages", "GoraCore", "GoraFormats"]),
    // Jinja as chat templates are written in it. Pure functions, no files.
    library("GoraJinja", ["GoraCore"]),
    // Tokenizers, data rows and prompt templates.
    library("GoraText", ["GoraCore", "GoraFormats", "GoraJinja"]),
    // The science: importance, rank allocation, initialisation. Pure functions, no files.
    library("GoraMethods", ["GoraCore"]),
    // Model code: forward next to backward; families of models behind one protocol.
    library("GoraModels", ["GoraCore", "GoraFormats", "GoraMethods"]),
    // The loops: gradients summed, steps taken, in which order rows come. No files.
    library("GoraTraining", ["GoraCore", "GoraFormats", "GoraText", "GoraModels", "GoraMethods"]),
    // Figures of what the stages wrote, as SVG, HTML and text. Pure functions, no files.
    library("GoraReport", ["GoraCore"]),
    // One file a stage: from a configuration to outputs, which it opens through GoraFormats.
    library(
      "GoraStages",
      ["GoraCore", "GoraFormats", "GoraImages", "GoraText", "GoraMethods", "GoraModels", "GoraTraining", "GoraReport"]),
    // Options, exit status, progress: the only layer that knows the command line.
    library(
      "GoraCLI",
      ["CGoraSignals"] + libraries + [argumentParser]),

    // What `make bench` runs; not installed.
    .executableTarget(
      name: "gora-bench",
      dependencies: ["CGoraKernels", "GoraCore", "GoraFormats", "GoraText", "GoraStages", argumentParser],
      path: "Benchmarks/gora-bench"),
    .testTarget(name: "GoraBenchTests", dependencies: ["gora-bench"], path: "Benchmarks/Tests"),
    // What `make fuzz` runs; not installed.
    .target(name: "CLibFuzzer", path: "Tests/fuzz/CLibFuzzer"),
    .executableTarget(name: "gora-fuzz", dependencies: libraries + ["CLibFuzzer"], path: "Tests/fuzz/gora-fuzz"),
  ] + ["grad", "score", "plan", "init", "train", "eval", "export", "report", "problems"].map(tool)
    + ["Core", "Formats", "Images", "Jinja", "Text", "Methods", "Models", "Training", "Report", "Stages"].map(tests),
  swiftLanguageModes: [.v6]
)

func library(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .target(name: name, dependencies: dependencies)
}

func tool(_ stage: String) -> Target {
  .executableTarget(name: "gora-\(stage)", dependencies: libraries + ["GoraCLI", argumentParser])
}

func tests(_ module: String) -> Target {
  .testTarget(name: "Gora\(module)Tests", dependencies: ["CGoraSignals"] + libraries)
}
