import ArgumentParser
import Glibc
import GoraCore
import GoraFormats

/// Measures gora's speed and memory, beside PyTorch and PEFT where they are there. Benchmarks/README.md says what and how.
@main
struct Bench: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "gora-bench", abstract: "Measure the speed and memory of gora's tools.",
    subcommands: [MeasureCommand.self, MakeModelCommand.self, FloorCommand.self], defaultSubcommand: MeasureCommand.self)
}

struct MakeModelCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "make-model", abstract: "Write a checkpoint folder with random weights.")

  @Argument(help: "Folder to write.")
  var folder: String
  @Option(help: ArgumentHelp("\(ModelPreset.all.map(\.name).joined(separator: ", ")).", valueName: "name"))
  var preset: String
  @Option(help: "Element type: bf16 or f32.")
  var dtype: Element = .bf16
  @Option(help: "Layers, instead of the preset's.")
  var layers: Int?
  @Option(help: "Seed of the weights.")
  var seed: UInt64 = 0

  enum Element: String, ExpressibleByArgument, CaseIterable { case bf16, f32 }

  func run() throws {
    guard var shape = ModelPreset.named(preset) else { throw ValidationError("--preset \"\(preset)\" is not one of them") }
    if let layers {
      guard layers > 0 else { throw ValidationError("--layers is \(layers); expected at least 1") }
      shape.layers = layers
    }
    ThreadPool.start(threads: max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
    do throws(GoraError) {
      try RandomModel(preset: shape, dtype: dtype == .bf16 ? .bf16 : .f32, seed: seed).write(to: folder)
    } catch {
      throw ValidationError(error.description)
    }
  }
}

struct MeasureCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "measure", abstract: "Print the tables and write them as JSON.")

  @Option(
    help: ArgumentHelp("Tables: all, quick, rows, or words of their names (grad, 110m-bf16, scaling, 8b).", valueName: "list"))
  var rows = "all"
  @Option(help: ArgumentHelp("Runs of each program a row.", valueName: "n"))
  var pairs = 3
  @Option(help: ArgumentHelp("Python with torch, transformers and peft, to measure beside.", valueName: "file"))
  var peer: String?
  @Option(name: .customLong("peer-script"), help: ArgumentHelp("What it runs.", valueName: "file"))
  var peerScript = "Benchmarks/peft_peer.py"
  @Option(help: ArgumentHelp("Folder of gsm8k/train.jsonl and tokenizers/llama2/tokenizer.json.", valueName: "dir"))
  var data: String?
  @Option(help: ArgumentHelp("Folder with room for the 8B model (30 GB).", valueName: "dir"))
  var scratch: String?
  @Option(help: ArgumentHelp("Folder of the tools.", valueName: "dir"))
  var tools = ".build/release"
  @Option(help: ArgumentHelp("Folder for models and passing files.", valueName: "dir"))
  var work = ".build/bench"
  @Option(help: ArgumentHelp("Compute threads (default: all CPUs).", valueName: "n"))
  var threads: Int?
  @Option(name: .shortAndLong, help: ArgumentHelp("Results as JSON.", valueName: "file"))
  var output = ".build/bench/bench.json"

  func validate() throws {
    if pairs < 1 { throw ValidationError("--pairs is \(pairs); expected at least 1") }
    if let threads, threads < 1 { throw ValidationError("--threads is \(threads); expected at least 1") }
    if let unknown = Selection(rows).unknown {
      let names = Row.all.map(\.name) + Selection.others
      throw ValidationError("--rows \"\(unknown)\" names nothing; tables: all, quick, rows, \(names.joined(separator: ", "))")
    }
  }

  func run() throws {
    do throws(GoraError) {
      try measure()
    } catch {
      writeError("gora-bench: error: \(error)\n" + (error.hint.map { "gora-bench: hint: \($0)\n" } ?? ""))
      throw ExitCode(error.status.rawValue)
    }
  }

  private func measure() throws(GoraError) {
    try makeFolders(work)
    let count = threads ?? max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    let place = Workplace(
      tools: tools, folder: work, program: CommandLine.arguments[0], threads: count, children: ChildRunner(folder: work),
      say: { writeError("gora-bench: \($0)\n") })
    let selection = Selection(rows)
    var report = Report(machine: try Machine(children: place.children, tools: tools, threads: count))
    if let peer {
      report.peer = try place.children.run([peer, peerScript, "versions"]).json("the peer").required("libraries").string
    }
    show(report.opening)

    let counts = count > 1 ? [1, count] : [1]
    // The floor first: without it no row can say how near it is.
    let chosen = selection.rows
    var shapes: [(preset: String, tokens: Int)] = []
    for row in chosen.isEmpty ? Row.all : chosen where !shapes.contains(where: { $0.preset == row.preset.name }) {
      shapes.append((row.preset.name, row.work == .generate ? 512 : row.batch * row.tokens))
    }
    if selection.wants("floor") || !chosen.isEmpty {
      place.say("measuring matrix products")
      report.floor = try Floor.measured(
        place.children, program: place.program, shapes: shapes, threads: counts)
      show(report.floorTable)
    }

    let runner = RowRunner(
      workplace: place, peer: peer.map { ($0, peerScript) }, pairs: pairs, data: data)
    for row in chosen { if let result = try runner.run(row) { report.rows.append(result) } }
    if !report.rows.isEmpty {
      // Again: what the machine can do may have changed meanwhile.
      let later = try Floor.measured(place.children, program: place.program, shapes: shapes, threads: counts)
      (report.floor, report.floorChange) = report.floor.averaged(with: later)
      show(report.rowTables)
      try save(&report)
    }
    if selection.wants("scaling") {
      report.scaling = try Scaling(workplace: place, repeats: pairs).run()
      report.scaling.forEach { show($0.text) }
      try save(&report)
    }
    if selection.wants("startup") {
      report.startup = try Startup(workplace: place).run()
      if let startup = report.startup { show(startup.text) }
      try save(&report)
    }
    if selection.wants("chat"), let data {
      report.chat = try ChatRows(data: data).run()
      if let chat = report.chat { show(chat.text) }
      try save(&report)
    }
    if selection.wants("gguf") {
      ThreadPool.start(threads: count)
      report.blocks = try BlockRates().run()
      if let blocks = report.blocks { show(blocks.text) }
      try save(&report)
    }
    if selection.wants("8b") {
      guard let scratch else {
        throw GoraError(.usage, "the 8B model needs a folder with 30 GB of room", hint: "make bench-8b SCRATCH=folder")
      }
      report.large = try LargeModel(workplace: place, scratch: scratch).run()
      if let large = report.large { show(large.text) }
    }
    try save(&report)
    show(report.closing)
    place.say("written to \(output)")
  }

  /// Written after each table: what fails later takes nothing with it.
  private func save(_ report: inout Report) throws(GoraError) {
    report.loadAfter = try Machine.loadAverage()
    try AtomicFile.write(path: output, text: report.json.pretty())
  }
}

/// A table as soon as it is there, also into a pipe.
private func show(_ text: String) {
  print(text)
  fflush(nil)
}

func writeError(_ text: String) { _ = text.withCString { write(STDERR_FILENO, $0, strlen($0)) } }
