import GoraCore
import Glibc
package struct TensorView: @unchecked Sendable {
  package let name: String; package let dtype: DType; package let shape: [Int]; package let bytes: UnsafeRawBufferPointer; package let file: AnyObject
  package var isAligned: Bool { Int(bitPattern: bytes.baseAddress) % dtype.byteCount == 0 }
  package func toFloat() -> [Float] {
    switch dtype {
    case .f32: return (0..<bytes.count/4).map { bytes.loadUnaligned(fromByteOffset: $0*4, as: Float.self) }
    case .bf16: return (0..<bytes.count/2).map { Float(BFloat16(bitPattern: bytes.loadUnaligned(fromByteOffset: $0*2, as: UInt16.self))) }
    default: return [] }
  }
}
package final class SafetensorsFile: @unchecked Sendable {
  package var tensors: [TensorView] = []
  package init(path: String) throws(GoraError) {
    let fd = open(path, O_RDONLY); guard fd >= 0 else { throw GoraError(.noInput, at: .file(path), "missing") }
    let size = Int(lseek(fd, 0, SEEK_END)); let base = mmap(nil, size, PROT_READ, MAP_PRIVATE, fd, 0)!
    let all = UnsafeRawBufferPointer(start: base, count: size)
    let n = Int(all.loadUnaligned(as: UInt64.self))
    let doc = try JSONDocument(path: path, text: [UInt8](all[8..<8+n]))
    for m in try doc.root.members where m.key != "__metadata__" {
      let o = try m.field.required("data_offsets").ints
      tensors.append(TensorView(name: m.key, dtype: DType(rawValue: try m.field.required("dtype").string)!, shape: try m.field.required("shape").ints, bytes: UnsafeRawBufferPointer(rebasing: all[8+n+o[0]..<8+n+o[1]]), file: self))
    }
  }
  package func tensor(_ n: String) -> TensorView? { tensors.first { $0.name == n } }
}
package final class ModelFolder: @unchecked Sendable {
  package let path: String; package let config: JSONDocument; var files: [SafetensorsFile] = []
  package init(path: String) throws(GoraError) {
    self.path = path
    func text(_ p: String) -> [UInt8] { let f = fopen(p, "r")!; var b = [UInt8](repeating: 0, count: 1<<20); let n = fread(&b, 1, b.count, f); fclose(f); return Array(b[..<n]) }
    config = try JSONDocument(path: path + "/config.json", text: text(path + "/config.json"))
    for n in ["model.safetensors", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] where access(path + "/" + n, R_OK) == 0 { files.append(try SafetensorsFile(path: path + "/" + n)) }
  }
  package func tensor(_ n: String) -> TensorView? { for f in files { if let t = f.tensor(n) { return t } }; return nil }
}
