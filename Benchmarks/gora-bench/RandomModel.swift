import CGoraKernels
import Glibc
import GoraCore
import GoraFormats
import GoraText

/// Writes a checkpoint folder with random weights: what is measured does not depend on their values.
struct RandomModel {
  let preset: ModelPreset
  let dtype: DType
  let seed: UInt64
  /// Larger checkpoints are cut into shards of at most this many bytes.
  var shardBytes = 4 << 30

  /// - Throws: `.cannotCreate` and `.io` where the folder cannot be written.
  func write(to folder: String) throws(GoraError) {
    try makeFolders(folder)
    let shards = self.shards
    for (index, shard) in shards.enumerated() {
      let file = try AtomicFile(path: "\(folder)/\(name(index, of: shards.count))")
      try SafetensorsWriter.write(
        to: file, entries: shard.map { .init(name: $0.name, dtype: dtype, shape: $0.shape) }, metadata: [("format", "pt")]
      ) { entry, append throws(GoraError) in try weights(entry, append) }
      try file.commit()
    }
    if shards.count > 1 { try writeIndex(shards, to: folder) }
    // Bytes as tokens: gora-eval needs a tokenizer to make a prompt of a known length.
    try AtomicFile.write(
      path: "\(folder)/tokenizer.json",
      text: BPETrainer.train(text: [], vocabularySize: 258, specialTokens: ["<s>", "</s>"]).pretty())
    // Last: a folder with a config.json is whole.
    try AtomicFile.write(
      path: "\(folder)/config.json", text: preset.config(dtype: dtype == .bf16 ? "bfloat16" : "float32").pretty())
  }

  // MARK: Shards

  private var shards: [[(name: String, shape: [Int])]] {
    var shards: [[(name: String, shape: [Int])]] = [[]]
    var bytes = 0
    for tensor in preset.tensors {
      let size = tensor.shape.reduce(1, *) * dtype.byteCount
      if bytes + size > shardBytes, bytes > 0 {
        shards.append([])
        bytes = 0
      }
      shards[shards.count - 1].append(tensor)
      bytes += size
    }
    return shards
  }

  private func name(_ index: Int, of count: Int) -> String {
    func five(_ n: Int) -> String { String(repeating: "0", count: 5 - String(n).count) + String(n) }
    return count == 1 ? "model.safetensors" : "model-\(five(index + 1))-of-\(five(count)).safetensors"
  }

  private func writeIndex(_ shards: [[(name: String, shape: [Int])]], to folder: String) throws(GoraError) {
    var map: [JSON.Member] = []
    for (index, shard) in shards.enumerated() {
      map += shard.map { JSON.Member($0.name, JSON(name(index, of: shards.count))) }
    }
    let index = JSON.object([
      "metadata": .object(["total_size": JSON(preset.parameters * dtype.byteCount)]), "weight_map": JSON(.object(map)),
    ])
    try AtomicFile.write(path: "\(folder)/model.safetensors.index.json", text: index.pretty())
  }

  // MARK: Values

  /// Norms are ones; other weights have mean 0 and standard deviation 0.02.
  private func weights(
    _ entry: SafetensorsWriter.Entry, _ append: (UnsafeRawBufferPointer) throws(GoraError) -> Void
  ) throws(GoraError) {
    let isNorm = entry.shape.count == 1
    // An empty buffer has an address too: it is not what tells.
    let isHalf = dtype == .bf16
    let count = entry.shape.reduce(1, *)
    // Its stream: the name's hash, so that a layer has the same weights in models of any depth.
    var stream: UInt64 = seed &* 0x9E37_79B9_7F4A_7C15 ^ 0xCBF2_9CE4_8422_2325
    for byte in entry.name.utf8 { stream = (stream ^ UInt64(byte)) &* 0x100_0000_01B3 }
    let base = stream
    let piece = 4 << 20
    let values = FloatBuffer(capacity: min(piece, count))
    let halves = UnsafeMutableBufferPointer<UInt16>.allocate(capacity: isHalf ? min(piece, count) : 0)
    defer { halves.deallocate() }
    for from in stride(from: 0, to: count, by: piece) {
      let size = min(piece, count - from)
      nonisolated(unsafe) let (floats, halves) = (values.pointer, halves)
      parallelRanges(size, grain: 65_536) { range in
        for i in range { floats[i] = isNorm ? 1 : roughNormal(base, UInt64(from + i)) * 0.02 }
        if isHalf, let start = halves.baseAddress {
          gora_f32_to_bf16(floats + range.lowerBound, start + range.lowerBound, range.count)
        }
      }
      try append(
        isHalf
          ? UnsafeRawBufferPointer(UnsafeMutableBufferPointer(rebasing: halves[..<size]))
          : UnsafeRawBufferPointer(start: floats, count: size * 4))
    }
  }
}

/// Mean 0, deviation 1: the sum of four 16-bit uniforms of one hash (SplitMix64's finaliser), near enough to a normal here, and
/// a few operations a value.
private func roughNormal(_ stream: UInt64, _ index: UInt64) -> Float {
  var z = stream &+ index &* 0x9E37_79B9_7F4A_7C15
  z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
  z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
  z ^= z >> 31
  let sum = Int32(truncatingIfNeeded: (z & 0xFFFF) + (z >> 16 & 0xFFFF) + (z >> 32 & 0xFFFF) + (z >> 48))
  // Four uniforms on 0 … 65535: mean 2·65535, variance 65536²/3.
  return Float(sum - 131_070) * (1.732_050_8 / 65_536)
}

/// A folder and the folders above it.
func makeFolders(_ path: String) throws(GoraError) {
  var partial = path.hasPrefix("/") ? "/" : ""
  for part in path.split(separator: "/") {
    partial += partial.isEmpty || partial.hasSuffix("/") ? String(part) : "/\(part)"
    if mkdir(partial, 0o777) != 0, errno != EEXIST {
      throw GoraError(.cannotCreate, at: .file(partial), String(cString: strerror(errno)))
    }
  }
}
