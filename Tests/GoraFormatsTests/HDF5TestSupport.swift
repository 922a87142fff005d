import Glibc
import GoraCore

@testable import GoraFormats

/// A folder of its own for one test of HDF5 files, removed with what is in it.
final class HDF5Folder {
  let path: String

  init() {
    var template = Array("\(getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp")/gora-hdf5-XXXXXX".utf8CString)
    mkdtemp(&template)
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit {
    for name in names { unlink("\(path)/\(name)") }
    rmdir(path)
  }

  /// What the folder holds, hidden files too.
  var names: [String] {
    guard let folder = opendir(path) else { return [] }
    defer { closedir(folder) }
    var names: [String] = []
    while let entry = readdir(folder) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  func bytes(_ name: String) -> [UInt8] {
    guard let file = fopen("\(path)/\(name)", "r") else { return [] }
    defer { fclose(file) }
    fseek(file, 0, SEEK_END)
    var bytes = [UInt8](repeating: 0, count: ftell(file))
    rewind(file)
    precondition(fread(&bytes, 1, bytes.count, file) == bytes.count)
    return bytes
  }

  func write(_ name: String, _ bytes: [UInt8]) -> String {
    let path = "\(path)/\(name)"
    guard let file = fopen(path, "w") else { return path }
    fwrite(bytes, 1, bytes.count, file)
    fclose(file)
    return path
  }
}

/// The error that a body throws; nil where it throws none.
func hdf5Refusal<Result>(_ body: () throws(GoraError) -> Result) -> GoraError? {
  do throws(GoraError) {
    _ = try body()
    return nil
  } catch { return error }
}

/// Seeded values of the size of gradients.
func sampleGradient(rows: Int, columns: Int, name: String) -> [Float] {
  var random = Random(seed: 7, stream: name)
  return (0..<rows * columns).map { _ in Float(random.normal() * 1e-4) }
}

let sampleNames = (0..<12).map { "model.layers.\($0).self_attn.q_proj.weight" }
let sampleSteps = GradientSteps(
  loss: [2.5, 0x1.fffffffffffffp-3, 1.25], tokens: [100, 1 << 40, 3], rows: [1, 2, 1],
  importance: [("model.layers.2.w", [1, 2, 3]), ("model.layers.10.w", [1e-300, 0.1, 5])])

/// Writes a small gradient file: twelve matrices of 50×33 and one of several chunks (600×700), and three steps.
func writeSample(
  _ path: String, _ compression: Compression, storesBFloat16: Bool = false
) throws(GoraError) {
  let writer = try GradientFileWriter(
    path: path, compression: compression, storesBFloat16: storesBFloat16,
    attributes: [("creator", "gora-grad"), ("model", "llama π 17"), ("provenance", "[]")])
  for name in sampleNames {
    try writer.write(
      name: name, rows: 50, columns: 33, values: sampleGradient(rows: 50, columns: 33, name: name), samples: 3, tokens: 99)
  }
  try writer.write(
    name: "lm_head.weight", rows: 600, columns: 700, values: sampleGradient(rows: 600, columns: 700, name: "lm_head.weight"),
    samples: 3, tokens: 99)
  try writer.write(steps: sampleSteps)
  try writer.finish()
}
