import Foundation
import GoraFormats
import Testing

@testable import GoraCore

/// ggml's blocks beside gguf-py's decoder (Fixtures/gguf), bit for bit: every product in a decoder is exact, so there is one right answer.
@Suite struct BlockWeightTests {
  init() { ThreadPool.start(threads: 2) }

  static let types = DType.allCases.filter(\.isQuantised)
  static let fixture = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: "Fixtures/gguf/blocks.safetensors").path()

  /// Random blocks of a type, and their values.
  struct Golden {
    let bytes: [UInt8]
    let values: [Float]

    init(_ dtype: DType) throws {
      let file = try SafetensorsFile(path: fixture)
      let blocks = try #require(file.tensor("\(dtype.rawValue)/blocks"))
      bytes = withExtendedLifetime(file) { Array(blocks.bytes) }
      values = try #require(file.tensor("\(dtype.rawValue)/values")).toFloat()
    }
  }

  static func bits(_ values: some Sequence<Float>) -> [UInt32] { values.map(\.bitPattern) }

  @Test(arguments: types) func decodersAreThoseOfGGUF(_ dtype: DType) throws {
    let golden = try Golden(dtype)
    let count = golden.values.count
    #expect(golden.bytes.count == count / dtype.block.elements * dtype.block.bytes && count >= 24 * 32)
    #expect(golden.values.contains { $0 != 0 && $0.magnitude < 1e-3 } && golden.values.contains { $0.magnitude > 1e5 })
    golden.bytes.withUnsafeBytes { bytes in
      let weight = BlockWeight(dtype, bytes.baseAddress!, columns: count)
      let size = dtype.block.elements
      for range in [
        0..<count, 0..<0, 0..<1, 1..<size - 1, size - 1..<size + 1, size..<17 * size, 3..<17 * size + 5, count - 1..<count,
      ] {
        var out = [Float](repeating: canary, count: range.count + 1)
        weight.decode(range, into: &out)
        #expect(Self.bits(out) == Self.bits(golden.values[range]) + [canary.bitPattern])
        var half = [UInt16](repeating: 0xABCD, count: range.count + 1)
        weight.decode(range, into: &half)
        #expect(half == golden.values[range].map { BFloat16($0).bitPattern } + [0xABCD])
        weight.decode(range, rounds: true, into: &out)
        #expect(Self.bits(out) == Self.bits(golden.values[range].map { Float(BFloat16($0)) }) + [canary.bitPattern])
      }
    }
  }

  /// Scales and minima that are no numbers give values that are none, in bf16 too, where rounding the largest NaN would wrap around.
  @Test(arguments: [UInt16(0x7C00), 0xFC00, 0x7FFF, 0xFFFF, 0x7E00, 0x7C01, 0xFC01], [[0], [2], [0, 2]])
  func scalesThatAreNotFinite(_ scale: UInt16, places: [Int]) throws {
    for dtype in Self.types where places == [0] || [.q41, .q51, .q4k, .q5k].contains(dtype) {
      var bytes = Array(try Golden(dtype).bytes.prefix(3 * dtype.block.bytes))
      for place in places {
        let at = dtype.block.bytes + (dtype == .q6k ? 208 : place)
        (bytes[at], bytes[at + 1]) = (UInt8(truncatingIfNeeded: scale), UInt8(scale >> 8))
      }
      let count = 3 * dtype.block.elements
      var (out, half) = ([Float](repeating: 0, count: count), [UInt16](repeating: 0, count: count))
      var rounded = out
      bytes.withUnsafeBytes { bytes in
        let weight = BlockWeight(dtype, bytes.baseAddress!, columns: count)
        weight.decode(0..<count, into: &out)
        weight.decode(0..<count, into: &half)
        weight.decode(0..<count, rounds: true, into: &rounded)
        for rounds in [false, true] {
          var y: Float = 0
          weight.multiply(stored: 0..<1, rounds: rounds, numbers(count, "x"), into: &y, accumulates: false)
          #expect(!y.isFinite)
        }
      }
      for (i, value) in out.enumerated() {
        let isDamaged = (dtype.block.elements..<2 * dtype.block.elements).contains(i)
        #expect(value.isFinite != isDamaged)
        for narrow in [Float(BFloat16(bitPattern: half[i])), rounded[i]] {
          #expect(value.isNaN ? narrow.isNaN : narrow == Float(BFloat16(value)))
        }
      }
    }
  }

  /// Rows of heads of 8: HF's row j and j + 4 lie at 2j and 2j + 1.
  @Test func rowOrder() throws {
    let order = RowOrder(headSize: 8)
    #expect((0..<8).map(order.place) == [0, 2, 4, 6, 1, 3, 5, 7])
    #expect((8..<16).map(order.place) == [8, 10, 12, 14, 9, 11, 13, 15])
    let golden = try Golden(.q41)
    golden.bytes.withUnsafeBytes { bytes in
      // 12 rows of two blocks, heads of 6.
      let order = RowOrder(headSize: 6)
      let weight = BlockWeight(.q41, bytes.baseAddress!, columns: 64, rowOrder: order)
      let expected = (0..<12).flatMap { row in golden.values[order.place(of: row) * 64..<(order.place(of: row) + 1) * 64] }
      for range in [0..<768, 5..<70, 63..<64, 130..<700] {
        var out = [Float](repeating: 0, count: range.count)
        weight.decode(range, into: &out)
        #expect(Self.bits(out) == Self.bits(expected[range]))
      }
    }
  }

  /// Products with blocks are those with their floats, rounded to bf16 where the operand beside them is: one token, few and many, weights
  /// decoded whole and in parts. The blocks themselves are multiplied by one token, rows in order or not, eight by eight or fewer; sums of
  /// up to 2048 products in f32, of the same size, lose 1e-7 of their norm in any order, of which 5e-6 leaves room.
  @Test(arguments: types, [false, true]) func products(_ dtype: DType, rounds: Bool) throws {
    try Matmul.open()
    let golden = try Golden(dtype)
    let shapes: [(rows: Int, columns: Int, tokens: Int, order: RowOrder?)] = [
      (6, 512, 1, nil), (45, 256, 1, nil), (300, 2048, 1, RowOrder(headSize: 20)), (36, 512, 3, RowOrder(headSize: 12)),
      (40, 768, 20, nil), (16, 256, 70, RowOrder(headSize: 4)), (300, 2048, 12, nil), (72, 512, 20, RowOrder(headSize: 8)),
    ]
    for (rows, columns, tokens, order) in shapes {
      // As many of the fixture's blocks as it takes, those with large values left out: sums would lose the others.
      let size = dtype.block
      let usable = (4..<golden.values.count / size.elements)
      let chosen = (0..<rows * columns / size.elements).map { usable.lowerBound + ($0 * 7) % usable.count }
      let bytes = chosen.flatMap { golden.bytes[$0 * size.bytes..<($0 + 1) * size.bytes] }
      let stored = chosen.flatMap { golden.values[$0 * size.elements..<($0 + 1) * size.elements] }
      let exact = (0..<rows).flatMap { row in
        let place = order?.place(of: row) ?? row
        return stored[place * columns..<(place + 1) * columns]
      }
      func operand(_ values: [Float]) -> [Float] { rounds ? values.map { Float(BFloat16($0)) } : values }
      let dense = operand(exact)
      let (x, dy) = (numbers(tokens * columns, "x"), numbers(tokens * rows, "dy"))
      bytes.withUnsafeBytes { bytes in
        let weight = BlockWeight(dtype, bytes.baseAddress!, columns: columns, rowOrder: order)
        var matrix = WeightMatrix(.blocks(weight), rows: rows, columns: columns, roundsInputs: rounds)
        // 48 and 24 rows of the last shape.
        if rows == 72 { matrix.decodedElements = 36 * columns }
        let scratch = MatmulScratch()
        let forward = MatmulTests.product(false, true, tokens, rows, columns, operand(x), columns, dense, columns)
        let backward = MatmulTests.product(false, false, tokens, columns, rows, operand(dy), rows, dense, columns)
        for base: Float in [0, 0.75] {
          var y = [Float](repeating: base == 0 ? .nan : base, count: tokens * rows)
          matrix.multiply(x, tokens: tokens, into: &y, accumulates: base != 0, scratch: scratch)
          #expect(relativeError(y, forward.map { $0 + Double(base) }) < 5e-6)
          var dx = [Float](repeating: base == 0 ? .nan : base, count: tokens * columns)
          matrix.multiplyTransposed(dy, tokens: tokens, into: &dx, accumulates: base != 0, scratch: scratch)
          #expect(relativeError(dx, backward.map { $0 + Double(base) }) < 5e-6)
        }
        if tokens == 1 {
          // As on CPUs without a bf16 unit.
          var y = [Float](repeating: .nan, count: rows)
          weight.multiply(stored: 0..<rows, rounds: rounds, operand(x), into: &y, accumulates: false)
          #expect(relativeError(y, forward) < 5e-6)
        }
        #expect(relativeError(matrix.multipliedTransposed(inPlace: dy, tokens: tokens, scratch: scratch), backward) < 5e-6)
        var last = [Float](repeating: canary, count: columns + 1)
        matrix.widen(rows - 1..<rows, into: &last)
        #expect(last == dense.suffix(columns) + [canary])
      }
    }
  }
}
