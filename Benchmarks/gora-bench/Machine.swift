import Glibc
import GoraCore
import GoraFormats

/// What was measured on, so that numbers of two machines are not taken for one another's.
struct Machine {
  var processor: String
  /// Those of its instruction sets that products can use.
  var instructionSets: [String]
  var cores: Int
  var memoryBytes: Int
  var kernel: String
  /// What multiplies matrices in gora.
  var libraries: String
  var commit: String
  var date: String
  /// One-minute load average.
  var load: Double

  private static let relevant = [
    "avx2", "fma", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8",
    "asimd",
    "bf16", "i8mm", "sve",
  ]

  /// - Parameter threads: that are measured with.
  init(children: ChildRunner, tools: String, threads: Int) throws(GoraError) {
    let info = try readWholeFile("/proc/cpuinfo")
    processor = ProcText.value("model name", in: info) ?? ProcText.value("CPU part", in: info) ?? "unknown"
    let flags = Set((ProcText.value("flags", in: info) ?? ProcText.value("Features", in: info) ?? "").split(separator: " "))
    instructionSets = Self.relevant.filter { flags.contains(Substring($0)) }
    cores = threads
    memoryBytes = ProcText.kibibytes("MemTotal:", in: try readWholeFile("/proc/meminfo")) << 10
    kernel = Self.line(try readWholeFile("/proc/sys/kernel/osrelease"))
    let version = try children.run(["\(tools)/gora-train", "--version", "-v"]).output.split(separator: "\n")
    libraries = version.joined(separator: "; ")
    // Outside a git checkout there is no commit to name.
    commit = (try? Self.line(Array(children.run(["git", "rev-parse", "--short=12", "HEAD"]).output.utf8))) ?? "unknown"
    if let changes = try? children.run(["git", "status", "--porcelain", "--untracked-files=no"]).output, !changes.isEmpty {
      commit += " with changes"
    }
    var now = time(nil)
    var parts = tm()
    gmtime_r(&now, &parts)
    var text = [CChar](repeating: 0, count: 32)
    let count = strftime(&text, text.count, "%Y-%m-%dT%H:%M:%SZ", &parts)
    date = String(decoding: text.prefix(count).map(UInt8.init(bitPattern:)), as: UTF8.self)
    load = try Self.loadAverage()
  }

  static func loadAverage() throws(GoraError) -> Double {
    line(try readWholeFile("/proc/loadavg")).split(separator: " ").first.flatMap { Double($0) } ?? .nan
  }

  private static func line(_ text: [UInt8]) -> String {
    String(decoding: text.prefix { $0 != 0x0A }, as: UTF8.self)
  }

  var json: JSON {
    .object([
      "processor": JSON(processor), "instruction_sets": JSON(instructionSets.map { JSON($0) }), "threads": JSON(cores),
      "memory_bytes": JSON(memoryBytes), "kernel": JSON(kernel), "libraries": JSON(libraries), "commit": JSON(commit),
      "date": JSON(date),
    ])
  }

  var text: String {
    """
    \(processor), \(cores) thread\(cores == 1 ? "" : "s"), \((memoryBytes + (1 << 29)) >> 30) GiB, Linux \(kernel)
    instruction sets: \(instructionSets.joined(separator: " "))
    \(libraries)
    commit \(commit), \(date), load average \(load)

    """
  }
}
