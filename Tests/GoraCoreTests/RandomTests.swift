import GoraCore
import Testing

@Suite struct RandomTests {
  typealias Block = (UInt32, UInt32, UInt32, UInt32)

  /// The known-answer vectors of the Random123 distribution (kat_vectors, philox4x32-10).
  @Test func knownAnswers() {
    let vectors: [(Block, (UInt32, UInt32), Block)] = [
      ((0, 0, 0, 0), (0, 0), (0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8)),
      (
        (.max, .max, .max, .max), (.max, .max), (0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd)
      ),
      (
        (0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344), (0xa409_3822, 0x299f_31d0),
        (0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1)
      ),
    ]
    for (counter, key, expected) in vectors { #expect(Random.philox(counter, key: key) == expected) }
  }

  /// Where a stream starts: FNV-1a of its name ("a" hashes to af63dc4c8601ec8c) in the counter's upper half, the seed as key.
  @Test func streamIsCounter() {
    var random = Random(seed: 0x0123_4567_89ab_cdef, stream: "a")
    for number in UInt32(0)..<3 {
      let block = Random.philox((number, 0, 0x8601_ec8c, 0xaf63_dc4c), key: (0x89ab_cdef, 0x0123_4567))
      for word in [block.0, block.1, block.2, block.3] { #expect(random.nextUInt32() == word) }
    }
  }

  /// χ² over equal cells has mean cells − 1 and deviation √(2(cells − 1)); five deviations up is one in a million or so.
  static func isUniform(_ counts: [Int]) -> Bool {
    let expected = Double(counts.reduce(0, +)) / Double(counts.count)
    let statistic = counts.reduce(0.0) { $0 + (Double($1) - expected) * (Double($1) - expected) / expected }
    let freedom = Double(counts.count - 1)
    return statistic < freedom + 5 * (2 * freedom).squareRoot() + 5
  }

  @Test func uniform() {
    var random = Random(seed: 1, stream: "uniform")
    let count = 40_000
    var cells = [Int](repeating: 0, count: 64)
    var sum = 0.0
    for _ in 0..<count {
      let value = random.uniform()
      #expect(value >= 0 && value < 1)
      cells[Int(value * 64)] += 1
      sum += value
    }
    #expect(Self.isUniform(cells))
    #expect(abs(sum / Double(count) - 0.5) < 5 / (12 * Double(count)).squareRoot())
  }

  /// Moments of N(0, 1): 0, 1, 0, 3, with deviations of √(1, 2, 15, 96)/√n; and the shares within one and two deviations.
  @Test func normal() {
    var random = Random(seed: 2, stream: "normal")
    let count = 40_000
    var moments = [0.0, 0, 0, 0]
    var within = [0, 0]
    for _ in 0..<count {
      let value = random.normal()
      var power = 1.0
      for i in 0..<4 {
        power *= value
        moments[i] += power / Double(count)
      }
      if abs(value) < 1 { within[0] += 1 }
      if abs(value) < 2 { within[1] += 1 }
    }
    for (moment, (mean, variance)) in zip(moments, [(0.0, 1.0), (1, 2), (0, 15), (3, 96)]) {
      #expect(abs(moment - mean) < 5 * (variance / Double(count)).squareRoot())
    }
    for (inside, share) in zip(within, [0.682689492, 0.954499736]) {
      #expect(abs(Double(inside) / Double(count) - share) < 5 * (share * (1 - share) / Double(count)).squareRoot())
    }
  }

  @Test(arguments: [1, 2, 3, 10, 100]) func below(_ bound: Int) {
    var random = Random(seed: 3, stream: "below")
    var cells = [Int](repeating: 0, count: bound)
    for _ in 0..<20_000 { cells[random.below(bound)] += 1 }
    #expect(bound == 1 || Self.isUniform(cells))
  }

  /// For 3·2⁶¹ a multiplication without rejection hits residues 0, 1, 2 in the proportion 3 : 3 : 2.
  @Test func belowLargeBoundIsUnbiased() {
    var random = Random(seed: 4, stream: "below")
    var cells = [0, 0, 0]
    for _ in 0..<20_000 { cells[random.below(3 << 61) % 3] += 1 }
    #expect(Self.isUniform(cells))
  }

  @Test func integersReachBothEnds() {
    var random = Random(seed: 5, stream: "integer")
    let seen = Set((0..<500).map { _ in random.integer(in: -2...3) })
    #expect(seen == Set(-2...3))
  }

  /// Every element reaches every place equally often, and none is lost.
  @Test func shuffle() {
    var random = Random(seed: 6, stream: "shuffle")
    var cells = [Int](repeating: 0, count: 25)
    for _ in 0..<4000 {
      var array = [0, 1, 2, 3, 4]
      random.shuffle(&array)
      #expect(array.sorted() == [0, 1, 2, 3, 4])
      for (place, element) in array.enumerated() { cells[place * 5 + element] += 1 }
    }
    #expect(Self.isUniform(cells))
  }

  /// Streams that differ in name or seed share no number and are not correlated; equal ones are equal.
  @Test func streams() {
    let count = 4000
    func take(_ seed: UInt64, _ name: String) -> [UInt64] {
      var random = Random(seed: seed, stream: name)
      return (0..<count).map { _ in random.nextUInt64() }
    }
    let streams = [take(0, "x/1"), take(0, "x/2"), take(1, "x/1"), take(1 << 32, "x/1"), take(0, "")]
    #expect(take(0, "x/1") == streams[0])
    #expect(Set(streams.joined()).count == streams.count * count)
    for i in streams.indices {
      for j in streams.indices where j < i {
        let correlation = zip(streams[i], streams[j]).reduce(0.0) { sum, pair in
          sum + (Double(pair.0) * 0x1p-64 - 0.5) * (Double(pair.1) * 0x1p-64 - 0.5) * 12
        }
        #expect(abs(correlation / Double(count)) < 5 / Double(count).squareRoot())
      }
    }
  }
}
