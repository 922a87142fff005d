/// Counter-based random numbers (Philox4x32-10, Salmon et al. 2011).
///
/// A stream is named, so that adding a module never moves another module's numbers:
/// `Random(seed: 0, stream: "gora-init/model.layers.0.self_attn.q_proj")`.
package struct Random: Sendable {
  private let key: (UInt32, UInt32)
  private var counter: (UInt32, UInt32, UInt32, UInt32)
  private var block: (UInt32, UInt32, UInt32, UInt32) = (0, 0, 0, 0)
  private var used = 4
  private var spareNormal: Double?

  package init(seed: UInt64, stream: String) {
    // FNV-1a over the name fills the upper half of the counter.
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in stream.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    key = (UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed >> 32))
    counter = (0, 0, UInt32(truncatingIfNeeded: hash), UInt32(truncatingIfNeeded: hash >> 32))
  }

  /// One Philox4x32-10 block; the known-answer vectors of the Random123 distribution hold for it.
  package static func philox(
    _ counter: (UInt32, UInt32, UInt32, UInt32), key: (UInt32, UInt32)
  ) -> (UInt32, UInt32, UInt32, UInt32) {
    var c = counter
    var k = key
    for _ in 0..<10 {
      let p0 = UInt64(0xD251_1F53) * UInt64(c.0)
      let p1 = UInt64(0xCD9E_8D57) * UInt64(c.2)
      c = (
        UInt32(truncatingIfNeeded: p1 >> 32) ^ c.1 ^ k.0, UInt32(truncatingIfNeeded: p1),
        UInt32(truncatingIfNeeded: p0 >> 32) ^ c.3 ^ k.1, UInt32(truncatingIfNeeded: p0)
      )
      k = (k.0 &+ 0x9E37_79B9, k.1 &+ 0xBB67_AE85)
    }
    return c
  }

  package mutating func nextUInt32() -> UInt32 {
    if used == 4 {
      block = Self.philox(counter, key: key)
      counter.0 &+= 1
      if counter.0 == 0 { counter.1 &+= 1 }
      used = 0
    }
    defer { used += 1 }
    switch used {
    case 0: return block.0
    case 1: return block.1
    case 2: return block.2
    default: return block.3
    }
  }

  package mutating func nextUInt64() -> UInt64 {
    let high = UInt64(nextUInt32())
    return high << 32 | UInt64(nextUInt32())
  }

  /// Uniform in [0, 1), 53 bits.
  package mutating func uniform() -> Double { Double(nextUInt64() >> 11) * 0x1p-53 }

  /// Uniform in 0..<bound without bias (Lemire).
  package mutating func below(_ bound: Int) -> Int {
    precondition(bound > 0)
    let n = UInt64(bound)
    var product = nextUInt64().multipliedFullWidth(by: n)
    if product.low < n {
      let threshold = (0 &- n) % n
      while product.low < threshold { product = nextUInt64().multipliedFullWidth(by: n) }
    }
    return Int(product.high)
  }

  package mutating func integer(in range: ClosedRange<Int>) -> Int {
    range.lowerBound + below(range.upperBound - range.lowerBound + 1)
  }

  /// Standard normal (Marsaglia's polar method).
  package mutating func normal() -> Double {
    if let spare = spareNormal {
      spareNormal = nil
      return spare
    }
    while true {
      let u = 2 * uniform() - 1
      let v = 2 * uniform() - 1
      let s = u * u + v * v
      if s > 0, s < 1 {
        let f = (-2 * log(s) / s).squareRoot()
        spareNormal = v * f
        return u * f
      }
    }
  }

  /// Fisher-Yates.
  package mutating func shuffle<T>(_ array: inout [T]) {
    guard array.count > 1 else { return }
    for i in stride(from: array.count - 1, through: 1, by: -1) { array.swapAt(i, below(i + 1)) }
  }

  package mutating func element<T>(of array: [T]) -> T { array[below(array.count)] }
}

import Glibc
