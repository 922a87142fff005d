import CGoraKernels
import GoraCore
import Testing

@Suite struct HalfPrecisionTests {
  /// The nearer of the two bf16 neighbours by distance in double, the even one of equals; 2¹²⁸ stands for infinity.
  static func nearest(_ value: Float) -> UInt16 {
    let down = UInt16(value.bitPattern >> 16)
    func magnitude(_ pattern: UInt16) -> Double {
      let bits = pattern & 0x7FFF
      return bits == 0x7F80 ? 0x1p128 : Double(Float(bitPattern: UInt32(bits) << 16))
    }
    if !value.isFinite { return down }
    let below = Double(value.magnitude) - magnitude(down)
    let above = magnitude(down + 1) - Double(value.magnitude)
    if below == above { return down & 1 == 0 ? down : down + 1 }
    return below < above ? down : down + 1
  }

  static func inC(_ values: [Float]) -> (narrow: [UInt16], rounded: [Float]) {
    var narrow = [UInt16](repeating: 0, count: values.count)
    var rounded = [Float](repeating: 0, count: values.count)
    gora_f32_to_bf16(values, &narrow, values.count)
    gora_round_bf16(values, &rounded, values.count)
    return (narrow, rounded)
  }

  static func check(_ values: [Float]) {
    let (narrow, rounded) = inC(values)
    var wrong = 0
    for (i, value) in values.enumerated() {
      let expected = nearest(value)
      if BFloat16(value).bitPattern != expected || narrow[i] != expected { wrong += 1 }
      if rounded[i].bitPattern != UInt32(expected) << 16 { wrong += 1 }
    }
    #expect(wrong == 0)
  }

  /// Exactly between two neighbours, and one step to either side, for all patterns: zeros, subnormals and overflow among them.
  @Test func ties() {
    let patterns = (UInt32(0)...0xFFFF).filter { $0 & 0x7FFF < 0x7F80 }
    for low: UInt32 in [0x7FFF, 0x8000, 0x8001] { Self.check(patterns.map { Float(bitPattern: $0 << 16 | low) }) }
  }

  @Test func randomPatterns() {
    var random = Random(seed: 0, stream: "bf16")
    Self.check((0..<20_000).map { _ in Float(bitPattern: random.nextUInt32()) }.filter { !$0.isNaN })
    Self.check([0, -0.0, .infinity, -.infinity, .greatestFiniteMagnitude, -.greatestFiniteMagnitude, .leastNonzeroMagnitude])
    #expect(BFloat16(Float.greatestFiniteMagnitude).bitPattern == 0x7F80)
  }

  /// All 65536 patterns widen and narrow to themselves; NaNs stay NaNs of their sign.
  @Test func roundTrip() {
    let patterns = (0...0xFFFF).map { UInt16($0) }
    var wide = [Float](repeating: 0, count: patterns.count)
    gora_bf16_to_f32(patterns, &wide, patterns.count)
    let (narrow, _) = Self.inC(wide)
    var wrong = 0
    for (i, pattern) in patterns.enumerated() {
      let value = Float(BFloat16(bitPattern: pattern))
      if value.bitPattern != UInt32(pattern) << 16 || wide[i].bitPattern != value.bitPattern { wrong += 1 }
      for back in [BFloat16(value).bitPattern, narrow[i]] {
        let isRight = value.isNaN ? back & 0x7FFF > 0x7F80 && back >> 15 == pattern >> 15 : back == pattern
        if !isRight { wrong += 1 }
      }
    }
    #expect(wrong == 0)
  }

  /// A NaN whose payload lies in the lower half must not become infinity.
  @Test func lowPayload() {
    let values = [Float(bitPattern: 0x7F80_0001), Float(bitPattern: 0xFF80_0001)]
    let (narrow, rounded) = Self.inC(values)
    for i in values.indices {
      #expect(Float(BFloat16(values[i])).isNaN && Float(BFloat16(bitPattern: narrow[i])).isNaN && rounded[i].isNaN)
    }
  }

  @Test func float16() {
    let patterns = (0...0xFFFF).map { UInt16($0) }
    var wide = [Float](repeating: 0, count: patterns.count)
    gora_f16_to_f32(patterns, &wide, patterns.count)
    // By fewer than the CPU's own widening takes.
    var pieces: [Float] = []
    for from in stride(from: 0, to: patterns.count, by: 7) {
      let some = Array(patterns[from..<min(from + 7, patterns.count)])
      var piece = [Float](repeating: 0, count: some.count)
      gora_f16_to_f32(some, &piece, some.count)
      pieces += piece
    }
    var wrong = 0
    for (i, pattern) in patterns.enumerated() {
      let expected = Float(Float16(bitPattern: pattern))
      for value in [wide[i], pieces[i]] where expected.isNaN ? !value.isNaN : value.bitPattern != expected.bitPattern {
        wrong += 1
      }
    }
    #expect(wrong == 0)
  }

  /// Every remainder of the vector loops, and nothing written behind the end.
  @Test(arguments: sizes) func lengths(_ n: Int) {
    let values = numbers(n, "lengths")
    let half = values.map { Self.nearest($0) }
    var narrow = [UInt16](repeating: 0xABCD, count: n + 3)
    gora_f32_to_bf16(values, &narrow, n)
    #expect(narrow == half + [0xABCD, 0xABCD, 0xABCD])
    var wide = [Float](repeating: canary, count: n + 3)
    gora_bf16_to_f32(half, &wide, n)
    #expect(wide == half.map { Float(bitPattern: UInt32($0) << 16) } + [canary, canary, canary])
    var rounded = [Float](repeating: canary, count: n + 3)
    gora_round_bf16(values, &rounded, n)
    #expect(rounded == wide)
    var inPlace = values + [canary, canary, canary]
    inPlace.withUnsafeMutableBufferPointer { gora_round_bf16($0.baseAddress, $0.baseAddress, n) }
    #expect(inPlace == wide)
    let sixteen = values.map { Float16($0).bitPattern }
    gora_f16_to_f32(sixteen, &wide, n)
    #expect(wide == values.map { Float(Float16($0)) } + [canary, canary, canary])
  }

  /// The CPU's own instruction gives the bits of the plain loop wherever these are a number that is not subnormal, or no number; in place
  /// too, in several pieces.
  @Test func narrowing() {
    let values =
      numbers(1003, "narrow", range: 3e38) + numbers(515, "narrow", range: 1) + [0, -0.0, .infinity, -.infinity, .nan, 3.4e38]
    for count in [1, 31, 32, 33, values.count] {
      var plain = [UInt16](repeating: 7, count: count + 1)
      var narrow = plain
      gora_f32_to_bf16(values, &plain, count)
      gora_narrow(values, &narrow, count)
      #expect(narrow == plain)
      var own = values
      gora_narrow_in_place(&own, count)
      own.withUnsafeBytes { #expect(Array($0.bindMemory(to: UInt16.self).prefix(count)) == Array(plain.prefix(count))) }
    }
  }
}
