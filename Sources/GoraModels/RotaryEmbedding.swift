import CGoraKernels
import Glibc
import GoraCore
import GoraFormats

/// Rotary frequencies and their scaling (`rope_theta` + `rope_scaling`, or `rope_parameters` of Transformers 5).
package struct RotaryScaling: Sendable, Equatable {
  package enum Kind: Sendable, Equatable {
    case `default`
    /// All frequencies divided by `factor`.
    case linear(factor: Double)
    /// Rows longer than `positions` turn by a larger base (NTK).
    case dynamic(factor: Double, positions: Int)
    /// Llama 3.1: long wavelengths divided, short ones kept, a ramp between.
    case llama3(factor: Double, lowFrequency: Double, highFrequency: Double, originalPositions: Double)
    /// Peng et al. 2023: pairs that turn rarely in `originalPositions` divided, those that turn often kept, a ramp between.
    case yarn(factor: Double, betaFast: Double, betaSlow: Double, originalPositions: Double, truncates: Bool)
    /// Ding et al. 2024: a divisor for each pair, one set for rows of up to `originalPositions` and one for longer rows.
    case longrope(short: [Double], long: [Double], originalPositions: Int)
    /// The first pairs alone turn, a `fraction` of all.
    case proportional(factor: Double, fraction: Double)
  }
  package var theta: Double
  package var kind: Kind
  /// On cosines and sines: the scores' temperature of yarn and longrope.
  package var attentionFactor = 1.0

  package static let supportedTypes = ["default", "linear", "dynamic", "llama3", "yarn", "longrope", "proportional"]

  package init(theta: Double, kind: Kind = .default) {
    self.theta = theta
    self.kind = kind
  }

  /// As Transformers 5 reads them: `rope_scaling` comes before `rope_parameters`, what stands inside before what stands beside.
  /// - Parameters:
  ///   - maxPositions: config.json's max_position_embeddings
  ///   - notes: takes what is not read
  init(reading root: JSONField, headSize: Int, maxPositions: Int, notes: inout [String]) throws(GoraError) {
    let older = try root.optional("rope_scaling")
    let isEmpty = try older?.members.isEmpty ?? true
    try self.init(
      isEmpty ? try root.optional("rope_parameters") : older, beside: root, thetaKey: "rope_theta", defaultTheta: 10_000,
      headSize: headSize, maxPositions: maxPositions, notes: &notes)
  }

  /// One set of settings.
  /// - Parameters:
  ///   - settings: nil for none
  ///   - root: what they stand in
  ///   - thetaKey: the base's name there
  init(
    _ settings: JSONField?, beside root: JSONField, thetaKey: String, defaultTheta: Double, headSize: Int, maxPositions: Int,
    notes: inout [String]
  ) throws(GoraError) {
    let inner = try settings?.optional("rope_theta")
    let outer = try root.optional(thetaKey)
    let field = inner ?? outer
    theta = try field?.double ?? defaultTheta
    guard theta > 0, theta.isFinite else { throw (field ?? root).error("\(field?.name ?? thetaKey) must be positive") }
    kind = .default
    guard let settings else { return }
    for (key, field) in try settings.members {
      guard case .object = field.value.content else { continue }
      throw field.error("rotary settings of their own for \"\(key)\" are not supported", hint: "expected one set for all layers")
    }
    let newName = try settings.member("rope_type")
    if let newName, newName.value.content == .null {
      throw newName.error("\(newName.name) is null; expected \"default\" or another")
    }
    let oldName = try settings.optional("type")
    guard let typeField = newName ?? oldName else {
      if try !settings.members.allSatisfy({ $0.key == "rope_theta" }) {
        notes.append("\(settings.name) in config.json names no \"rope_type\": taken as \"default\", as Transformers does")
      }
      return
    }
    let type = try typeField.string
    guard Self.supportedTypes.contains(type) else {
      throw typeField.error(
        "rotary scaling \"\(type)\" is not supported", hint: "supported: \(Self.supportedTypes.joined(separator: ", "))")
    }
    if type == "default" { return }

    func positive(_ field: JSONField) throws(GoraError) -> Double {
      let value = try field.double
      guard value > 0, value.isFinite else { throw field.error("\(field.name) must be positive") }
      return value
    }
    func positive(_ key: String) throws(GoraError) -> Double { try positive(try settings.required(key)) }
    func optional(_ key: String) throws(GoraError) -> Double? {
      guard let field = try settings.optional(key) else { return nil }
      let value = try field.double
      guard value.isFinite else { throw field.error("\(field.name) must be finite") }
      return value
    }
    let innerFraction = try settings.optional("partial_rotary_factor")
    let outerFraction = try root.optional("partial_rotary_factor")
    let fractionField = innerFraction ?? outerFraction
    let fraction = try fractionField?.double ?? 1
    let turning = (fraction * Double(headSize)).rounded(.down)
    if let fractionField, type == "proportional" ? !(0...1).contains(fraction) : turning != Double(headSize) {
      throw fractionField.error("partial_rotary_factor \(fraction) is not supported with rotary scaling \"\(type)\"")
    }
    // Phi's spelling, beside the settings, comes first.
    let outerOriginal = try root.optional("original_max_position_embeddings")
    let innerOriginal = try settings.optional("original_max_position_embeddings")
    let original = try (outerOriginal ?? innerOriginal)?.int(in: 1...(1 << 30)) ?? maxPositions

    switch type {
    case "linear": kind = .linear(factor: try positive("factor"))
    case "dynamic":
      guard headSize > 2 else { throw typeField.error("rotary scaling \"dynamic\" needs a head_dim of more than 2") }
      kind = .dynamic(factor: try positive("factor"), positions: maxPositions)
    case "llama3":
      kind = .llama3(
        factor: try positive("factor"), lowFrequency: try positive("low_freq_factor"),
        highFrequency: try positive("high_freq_factor"), originalPositions: Double(original))
    case "yarn":
      guard let factorField = try settings.member("factor") else { throw settings.error("\(settings.name) lacks \"factor\"") }
      let factor = factorField.value.content == .null ? Double(maxPositions) / Double(original) : try positive(factorField)
      func nonZero(_ key: String) throws(GoraError) -> Double? { try optional(key).flatMap { $0 == 0 ? nil : $0 } }
      kind = .yarn(
        factor: factor, betaFast: try nonZero("beta_fast") ?? 32, betaSlow: try nonZero("beta_slow") ?? 1,
        originalPositions: Double(original), truncates: try settings.optional("truncate")?.bool ?? true)
      func temperature(_ scale: Double) -> Double { factor <= 1 ? 1 : 0.1 * scale * log(factor) + 1 }
      if let given = try optional("attention_factor") {
        attentionFactor = given
      } else if let scale = try nonZero("mscale"), let all = try nonZero("mscale_all_dim") {
        attentionFactor = temperature(scale) / temperature(all)
      } else {
        attentionFactor = temperature(1)
      }
    case "longrope":
      func divisors(_ key: String) throws(GoraError) -> [Double] {
        let field = try settings.required(key)
        var values: [Double] = []
        for element in try field.elements { values.append(try positive(element)) }
        guard values.count == headSize / 2 else {
          throw field.error("\(field.name) has \(values.count) numbers; expected \(headSize / 2), one for each pair of a head")
        }
        return values
      }
      kind = .longrope(short: try divisors("short_factor"), long: try divisors("long_factor"), originalPositions: original)
      let factor = try optional("factor") ?? Double(maxPositions) / Double(original)
      attentionFactor =
        try optional("attention_factor") ?? (factor <= 1 ? 1 : (1 + log(factor) / log(Double(original))).squareRoot())
    default:
      kind = .proportional(factor: try optional("factor") ?? 1, fraction: fraction)
    }
  }

  /// Rows of more tokens turn by other frequencies.
  package var lengthLimit: Int? {
    switch kind {
    case .dynamic(_, let positions): positions
    case .longrope(_, _, let originalPositions): originalPositions
    case .default, .linear, .llama3, .yarn, .proportional: nil
    }
  }

  /// Radians a position, for each of headSize/2 pairs, in a row of `length` tokens.
  package func inverseFrequencies(headSize: Int, length: Int = 0) -> [Double] {
    let pairs = 0..<headSize / 2
    func plain(_ pair: Int, base: Double) -> Double { pow(base, -2 * Double(pair) / Double(headSize)) }
    switch kind {
    case .default: return pairs.map { plain($0, base: theta) }
    case .linear(let factor): return pairs.map { plain($0, base: theta) / factor }
    case .dynamic(let factor, let positions):
      let stretch = factor * Double(max(length, positions)) / Double(positions) - (factor - 1)
      let base = theta * pow(stretch, Double(headSize) / Double(headSize - 2))
      return pairs.map { plain($0, base: base) }
    case .llama3(let factor, let low, let high, let original):
      return pairs.map { pair in
        let plain = plain(pair, base: theta)
        let wavelength = 2 * Double.pi / plain
        if wavelength < original / high { return plain }
        if wavelength > original / low { return plain / factor }
        let smooth = (original / wavelength - low) / (high - low)
        return (1 - smooth) * plain / factor + smooth * plain
      }
    case .yarn(let factor, let fast, let slow, let original, let truncates):
      /// The pair, as a fraction, that makes so many turns in the original positions.
      func place(turns: Double) -> Double {
        Double(headSize) * log(original / (turns * 2 * Double.pi)) / (2 * log(theta))
      }
      var (low, high) = (place(turns: fast), place(turns: slow))
      if truncates { (low, high) = (low.rounded(.down), high.rounded(.up)) }
      (low, high) = (max(low, 0), min(high, Double(headSize - 1)))
      if low == high { high += 0.001 }
      return pairs.map { pair in
        let plain = plain(pair, base: theta)
        let ramp = min(max((Double(pair) - low) / (high - low), 0), 1)
        return plain / factor * ramp + plain * (1 - ramp)
      }
    case .longrope(let short, let long, let original):
      let divisors = length > original ? long : short
      return pairs.map { plain($0, base: theta) / divisors[$0] }
    case .proportional(let factor, let fraction):
      let turning = Int(fraction * Double(headSize) / 2)
      return pairs.map { $0 < turning ? plain($0, base: theta) / factor : 0 }
    }
  }
}

/// Cosines and sines of a batch's tokens.
package final class RotaryTable {
  private let scaling: RotaryScaling
  private let headSize: Int
  /// For rows within the limit of lengths, by position; made once for as many positions as were asked for.
  private var usual: Angles
  /// Of the batch, [T, headSize/2].
  private var batch: Angles

  /// Angles in the order in which they were added.
  private struct Angles {
    var cosine: [Float] = []
    var sine: [Float] = []

    mutating func add(position: Int, frequencies: [Float], factor: Float) {
      for frequency in frequencies {
        let angle = Double(Float(position) * frequency)
        cosine.append(factor * Float(cos(angle)))
        sine.append(factor * Float(sin(angle)))
      }
    }

    mutating func removeAll() {
      cosine.removeAll(keepingCapacity: true)
      sine.removeAll(keepingCapacity: true)
    }
  }

  package init(_ scaling: RotaryScaling, headSize: Int) {
    self.scaling = scaling
    self.headSize = headSize
    (usual, batch) = (Angles(), Angles())
  }

  /// Transformers keeps the frequencies in f32; so do we.
  private func frequencies(length: Int) -> [Float] {
    scaling.inverseFrequencies(headSize: headSize, length: length).map { Float($0) }
  }

  /// Makes the angles of a batch's tokens.
  /// - Parameters:
  ///   - positions: of each token in its row
  ///   - starts: first token of each row, and their number at the end; a row has so many tokens as its last position says
  package func prepare(positions: [Int32], starts: [Int]) {
    let (half, factor) = (headSize / 2, Float(scaling.attentionFactor))
    batch.removeAll()
    for row in 0..<starts.count - 1 where starts[row] < starts[row + 1] {
      let length = Int(positions[starts[row + 1] - 1]) + 1
      let own = positions[starts[row]..<starts[row + 1]]
      if let limit = scaling.lengthLimit, length > limit {
        let frequencies = frequencies(length: length)
        for position in own { batch.add(position: Int(position), frequencies: frequencies, factor: factor) }
        continue
      }
      let made = usual.cosine.count / half
      if made < length {
        let frequencies = frequencies(length: 0)
        for position in made..<length { usual.add(position: position, frequencies: frequencies, factor: factor) }
      }
      for position in own {
        let angles = Int(position) * half..<(Int(position) + 1) * half
        batch.cosine += usual.cosine[angles]
        batch.sine += usual.sine[angles]
      }
    }
  }

  /// Rotates `heads` heads of each row of x [T, heads·headSize], T the tokens of `prepare`; `inverse` turns a gradient back.
  package func rotate(_ x: UnsafeMutablePointer<Float>, heads: Int, inverse: Bool = false) {
    let width = heads * headSize
    let half = headSize / 2
    batch.cosine.withUnsafeBufferPointer { cosine in
      batch.sine.withUnsafeBufferPointer { sine in
        parallelRanges(cosine.count / half, grain: max(1, 16_384 / width)) { range in
          for t in range {
            gora_rotate(
              x + t * width, cosine.baseAddress! + t * half, sine.baseAddress! + t * half, heads, headSize, inverse ? -1 : 1)
          }
        }
      }
    }
  }
}
