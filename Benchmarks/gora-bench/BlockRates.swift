import Glibc
import GoraCore
import GoraFormats

/// How fast ggml's quantised blocks are decoded, and products with them beside those with a bf16 weight of the same size.
struct BlockRates {
  private static let (rows, columns, many) = (2048, 2048, 512)
  /// Rows of the weight that one token is multiplied with, as many elements as a small model has: none stays in a core's own cache.
  private static let allRows = 65_536

  func run() throws(GoraError) -> Measured {
    try Matmul.open()
    let rounds = Matmul.hasBFloat16
    let count = Self.rows * Self.columns
    let (x, y) = (FloatBuffer(zeros: Self.many * Self.columns), FloatBuffer(zeros: count))
    let stored = Self.allRows * Self.columns
    for i in 0..<x.count { x.pointer[i] = 0.01 + Float(i & 0xFF) * 1e-4 }
    let scratch = MatmulScratch()
    var table = TextTable([
      "type", "to f32, GB/s", "+-", "to bf16, GB/s", "x\u{B7}W\u{1D40}", "+-", "dy\u{B7}W", "+-", "1 token", "+-",
    ])
    var json: [JSON] = []
    var plain: [Double]?
    for dtype in [DType.bf16] + DType.allCases.filter(\.isQuantised) {
      let bytes = FloatBuffer(capacity: stored / dtype.block.elements * dtype.block.bytes / 4 + 1)
      // Scales and codes of some kind; bytes of 0x2A are finite scales.
      memset(bytes.pointer, 0x2A, 4 * bytes.count)
      let start = UnsafeRawPointer(bytes.pointer)
      let storage: WeightMatrix.Storage =
        dtype == .bf16
        ? .bf16(start.assumingMemoryBound(to: UInt16.self)) : .blocks(BlockWeight(dtype, start, columns: Self.columns))
      let matrix = WeightMatrix(storage, rows: Self.rows, columns: Self.columns, roundsInputs: rounds)
      let all = WeightMatrix(storage, rows: Self.allRows, columns: Self.columns, roundsInputs: rounds)
      // 1 MiB of floats at a time, as products decode them.
      let tile = 0..<262_144
      func decode(_ body: (BlockWeight) -> Void) -> Sample? {
        guard case .blocks(let weight) = storage else { return nil }
        return Self.rate(Double(tile.count)) { body(weight) }
      }
      let half = UnsafeMutableRawPointer(y.pointer).assumingMemoryBound(to: UInt16.self)
      let wide = decode { $0.decode(tile, into: y.pointer) }
      let narrow = decode { $0.decode(tile, into: half) }
      let work = 2 * Double(count)
      let products = [
        Self.rate(work * Double(Self.many)) { matrix.multiply(x.pointer, tokens: Self.many, into: y.pointer, scratch: scratch) },
        Self.rate(work * Double(Self.many)) {
          matrix.multiplyTransposed(x.pointer, tokens: Self.many, into: y.pointer, scratch: scratch)
        },
        Self.rate(2 * Double(stored)) { all.multiply(x.pointer, tokens: 1, into: y.pointer, scratch: scratch) },
      ]
      if plain == nil { plain = products.map(\.median) }
      let relative = zip(products, plain ?? []).map { $0.median / $1 }
      table.append(
        [
          dtype.rawValue, wide.map { fixed($0.median * 4e-9, 1) } ?? "-", wide.map { percent($0.spread) } ?? "-",
          narrow.map { fixed($0.median * 2e-9, 1) } ?? "-",
        ] + zip(products, relative).flatMap { [fixed($1, 2), percent($0.spread)] })
      json.append(
        .object([
          "type": JSON(dtype.rawValue), "f32_elements_per_second": wide?.json ?? nil,
          "bf16_elements_per_second": narrow?.json ?? nil,
          "forward_flops": products[0].json, "backward_flops": products[1].json, "one_token_flops": products[2].json,
        ]))
      withExtendedLifetime(bytes) {}
    }
    let precision = rounds ? "bf16" : "f32"
    return Measured(
      name: "gguf",
      text:
        "Quantised blocks: decoded by one thread (bytes written), and products of [\(Self.rows), \(Self.columns)] in \(precision)\n"
        + "with \(Self.many) tokens, and of [\(Self.allRows), \(Self.columns)] with 1, relative to a bf16 weight\n\n"
        + table.text,
      json: JSON(json))
  }

  /// Work a second: the median of at least five runs and 0.2 s.
  private static func rate(_ work: Double, _ body: () -> Void) -> Sample {
    body()
    var sample = Sample()
    let start = ContinuousClock.now
    while sample.values.count < 5 || start.duration(to: .now) < .milliseconds(200) {
      let before = ContinuousClock.now
      body()
      sample.append(work / seconds(since: before))
    }
    return sample
  }
}
