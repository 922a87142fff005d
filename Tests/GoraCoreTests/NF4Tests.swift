import CGoraKernels
import Foundation
import GoraCore
import GoraFormats
import Testing

/// NF4 beside bitsandbytes (Fixtures/nf4) and beside the definition written out.
@Suite struct NF4Tests {
  init() { ThreadPool.start(threads: 2) }

  static let fixture = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: "Fixtures/nf4/nf4.safetensors").path()

  static func golden(_ name: String) throws -> TensorView { try #require(try SafetensorsFile(path: fixture).tensor(name)) }
  static func floats(_ name: String) throws -> [Float] { try golden(name).toFloat() }
  static func bytes(_ name: String) throws -> [UInt8] {
    let tensor = try golden(name)
    return withExtendedLifetime(tensor.file) { Array(tensor.bytes) }
  }

  static func encoded(_ values: [Float], name: String = "w") throws -> NF4Weight {
    try values.withUnsafeBufferPointer { values in
      try NF4Weight(count: values.count, at: .object("model.safetensors", name: " tensor \"\(name)\"")) { range, out in
        out.update(from: values.baseAddress! + range.lowerBound, count: range.count)
      }
    }
  }

  static func decoded(_ weight: NF4Weight, _ range: Range<Int>, rounds: Bool = false) -> [Float] {
    var out = [Float](repeating: canary, count: range.count + 1)
    weight.decode(range, rounds: rounds, into: &out)
    #expect(out.last == canary)
    return out.dropLast()
  }

  /// The decoded scale of a block, by the definition.
  static func scale(_ weight: NF4Weight, _ block: Int) throws -> Float {
    let map = try floats("map")
    let product = map[Int(weight.scales[block])] * weight.second[block / 256]
    return product + weight.offset
  }

  static func code(_ weight: NF4Weight, _ index: Int) -> Int {
    Int(index % 2 == 0 ? weight.codes[index / 2] >> 4 : weight.codes[index / 2] & 15)
  }

  /// The table as published; the map of the scales bit by bit.
  @Test func tables() throws {
    #expect(
      NF4Weight.table == [
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
        -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
        0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
      ])
    #expect(try NF4Weight.table == Self.floats("table"))
    let map = Array(UnsafeBufferPointer(start: gora_nf4_scale_map(), count: 256))
    #expect(try map.map(\.bitPattern) == Self.floats("map").map(\.bitPattern))
  }

  /// Every code of 16 756 weights in rows of 71 and of their 262 scales: blocks of zeros, of one value, and of ties among them.
  @Test func knownBlocks() throws {
    let weight = try Self.encoded(Self.floats("weight"))
    #expect(try weight.codes == Self.bytes("packed"))
    #expect(try weight.scales == Self.bytes("scale_codes"))
    // PyTorch sums the mean in f32: one unit in the last place, and so in what is measured from it.
    let offset = try Self.floats("offset")[0]
    #expect(abs(weight.offset - offset) <= offset.ulp)
    for (ours, theirs) in zip(weight.second, try Self.floats("second_absmax")) { #expect(abs(ours - theirs) <= 2 * theirs.ulp) }
    #expect(weight.byteCount == 8378 + 262 + 2 * 4 + 4)
    let expected = try Self.floats("dequantized").doubles
    #expect(relativeError(Self.decoded(weight, 0..<16_756), expected) < 3e-7)
  }

  /// bitsandbytes' own bytes give its own floats, whole and in rows, which begin anywhere in a block or a byte.
  @Test func knownBytes() throws {
    let (codes, scales, second) = (try Self.bytes("packed"), try Self.bytes("scale_codes"), try Self.floats("second_absmax"))
    let expected = try Self.floats("dequantized")
    var weight = gora_nf4()
    weight.offset = try Self.floats("offset")[0]
    codes.withUnsafeBufferPointer { codes in
      scales.withUnsafeBufferPointer { scales in
        second.withUnsafeBufferPointer { second in
          (weight.codes, weight.scales, weight.second) = (codes.baseAddress, scales.baseAddress, second.baseAddress)
          for range in [0..<16_756, 71..<142, 71 * 3..<71 * 9, 71 * 235..<16_756, 64..<128, 100..<101, 5..<5] {
            var out = [Float](repeating: canary, count: range.count + 1)
            gora_nf4_decode(&weight, range.lowerBound, range.count, false, &out)
            #expect(out == expected[range] + [canary], "\(range)")
          }
        }
      }
    }
  }

  /// A block by hand: the table at scale 2, first to last and back, twice.
  @Test func packing() throws {
    let values = NF4Weight.table + NF4Weight.table.reversed()
    let weight = try Self.encoded((values + values).map { 2 * $0 })
    let forth: [UInt8] = [0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF]
    let back: [UInt8] = [0xFE, 0xDC, 0xBA, 0x98, 0x76, 0x54, 0x32, 0x10]
    #expect(weight.codes == forth + back + forth + back)
    // One scale is its own mean.
    #expect(weight.offset == 2 && weight.second == [0] && weight.scales == [127])
    #expect(Self.decoded(weight, 0..<64) == (values + values).map { 2 * $0 })
  }

  /// Half the widest gap of the table times the block's scale, and what the 8 bits of the scale lose: half the widest gap of the
  /// map, which lacks −1, times the second scale.
  @Test(arguments: [1, 2, 63, 64, 65, 127, 128, 1000, 64 * 256, 64 * 256 + 1, 40_007]) func errors(_ count: Int) throws {
    let values = numbers(count, "nf4 \(count)").enumerated().map { $1 * Float(1 + $0 / 64 % 5) }
    let weight = try Self.encoded(values)
    #expect(weight.codes.count == (count + 1) / 2 && weight.scales.count == (count + 63) / 64)
    let result = Self.decoded(weight, 0..<count)
    let gap = (1 - 0.6961928) / 2.0
    for block in 0..<(count + 63) / 64 {
      let range = block * 64..<min(count, block * 64 + 64)
      let largest = values[range].map(\.magnitude).max() ?? 0
      let scale = try Self.scale(weight, block)
      #expect(abs(scale - largest) <= 0.00704 * weight.second[block / 256] + 1e-6)
      for i in range {
        #expect(result[i] == NF4Weight.table[Self.code(weight, i)] * scale)
        #expect(Double(abs(NF4Weight.table[Self.code(weight, i)] * largest - values[i])) <= gap * Double(largest) * 1.000001)
      }
      // The largest element has the code of its sign.
      let top = try #require(range.first { values[$0].magnitude == largest })
      #expect(Self.code(weight, top) == (values[top] < 0 ? 0 : 15))
    }
  }

  /// Every range of a weight is that part of the whole, as it is and rounded to bf16, in floats and in halves.
  @Test func ranges() throws {
    let weight = try Self.encoded(numbers(201, "ranges"))
    let whole = Self.decoded(weight, 0..<201)
    let rounded = whole.map { BFloat16($0) }
    for from in 0...201 {
      for to in from...201 {
        let range = from..<to
        if Self.decoded(weight, range) != Array(whole[range]) { Issue.record("\(range)") }
        if Self.decoded(weight, range, rounds: true) != rounded[range].map({ Float($0) }) { Issue.record("\(range), rounded") }
        var halves = [UInt16](repeating: 0xABCD, count: range.count + 1)
        weight.decode(range, into: &halves)
        if halves != rounded[range].map(\.bitPattern) + [0xABCD] { Issue.record("\(range), in halves") }
      }
    }
  }

  /// 1 + 1/256 lies in the middle of two numbers of bf16, 1 + 3/256 as well: the even ones are 1 and 1 + 4/256.
  @Test(arguments: zip([1, 3] as [Float], [0x3F80, 0x3F82] as [UInt16])) func ties(_ parts: Float, bits: UInt16) throws {
    let scale = 1 + parts / 256
    let weight = try Self.encoded((0..<67).map { $0 % 2 == 0 ? scale : -scale })
    var halves = [UInt16](repeating: 0, count: 67)
    weight.decode(0..<67, into: &halves)
    #expect(halves == (0..<67).map { $0 % 2 == 0 ? bits : bits | 0x8000 })
    #expect(Self.decoded(weight, 0..<67, rounds: true).map { UInt16($0.bitPattern >> 16) } == halves)
  }

  @Test func nothing() throws {
    let weight = try Self.encoded([Float](repeating: 0, count: 130))
    #expect(weight.codes == [UInt8](repeating: 0x77, count: 65) && weight.offset == 0 && weight.second == [0])
    #expect(Self.decoded(weight, 0..<130) == [Float](repeating: 0, count: 130))
    // Among others a block of zeros stays one, though its scale is not exact.
    var values = numbers(64 * 20, "zeros")
    for i in 64..<128 { values[i] = 0 }
    #expect(Self.decoded(try Self.encoded(values), 64..<128).allSatisfy { $0 == 0 })
    // Too small for an inverse.
    let least = Float.leastNonzeroMagnitude
    let tiny = try Self.encoded([least, -least])
    #expect(Self.decoded(tiny, 0..<2).allSatisfy { $0.isFinite })
  }

  @Test(arguments: [Float.nan, .infinity, -.infinity], [0, 63, 20_000]) func notFinite(_ value: Float, index: Int) throws {
    var values = numbers(20_001, "finite")
    values[index] = value
    let error = try #require(throws: GoraError.self) { try Self.encoded(values, name: "q_proj.weight") }
    #expect(error.status == .data)
    #expect("\(error)".contains("tensor \"q_proj.weight\"") && "\(error)".contains("value \(value) at element \(index)"))
  }

  /// Products with a quantised weight are those with its floats, rounded to bf16 where the operand beside them is.
  @Test(arguments: [[1, 1, 1], [37, 24, 5], [33, 71, 4], [150, 4096, 2]], [false, true])
  func products(_ shape: [Int], rounds: Bool) throws {
    try Matmul.open()
    let (rows, columns, tokens) = (shape[0], shape[1], shape[2])
    let weight = try Self.encoded(numbers(rows * columns, "weight"))
    let matrix = WeightMatrix(.nf4(weight), rows: rows, columns: columns, roundsInputs: rounds)
    func operand(_ values: [Float]) -> [Float] { rounds ? values.map { Float(BFloat16($0)) } : values }
    let dense = operand(Self.decoded(weight, 0..<rows * columns))
    let (x, dy) = (numbers(tokens * columns, "x"), numbers(tokens * rows, "dy"))
    let scratch = MatmulScratch()
    var y = [Float](repeating: .nan, count: tokens * rows)
    matrix.multiply(x, tokens: tokens, into: &y, scratch: scratch)
    #expect(relativeError(y, MatmulTests.product(false, true, tokens, rows, columns, operand(x), columns, dense, columns)) < 5e-6)
    let backward = MatmulTests.product(false, false, tokens, columns, rows, operand(dy), rows, dense, columns)
    var dx = [Float](repeating: .nan, count: tokens * columns)
    matrix.multiplyTransposed(dy, tokens: tokens, into: &dx, scratch: scratch)
    #expect(relativeError(dx, backward) < 5e-6)
    #expect(relativeError(matrix.multipliedTransposed(inPlace: dy, tokens: tokens, scratch: scratch), backward) < 5e-6)
    var some = [Float](repeating: canary, count: columns + 1)
    matrix.widen(rows - 1..<rows, into: &some)
    #expect(some == dense.suffix(columns) + [canary])
  }
}
