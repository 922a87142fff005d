import CGoraKernels
import GoraCore
import GoraFormats

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Rotary frequencies and their scaling (`rope_theta` + `rope_scaling`, or `rope_parameters` of Transformers 5).
package struct RotaryScaling: Sendable, Equatable {
  package enum Kind: Sendable, Equatable {
    case `default`
    /// All frequencies divided by `factor`.
    case linear(factor: Double)
    /// Llama 3.1: long wavelengths divided, short ones kept, a ramp between.
    case llama3(factor: Double, lowFrequency: Double, highFrequency: Double, originalPositions: Double)
  }
  package var theta: Double
  package var kind: Kind

  package init(theta: Double, kind: Kind = .default) {
    self.theta = theta
    self.kind = kind
  }

  init(reading root: JSONField) throws(GoraError) {
    let parameters = try root.optional("rope_parameters")
    let inner = try parameters?.optional("rope_theta")
    let outer = try root.optional("rope_theta")
    theta = try (inner ?? outer)?.double ?? 10_000
    guard theta > 0 else { throw root.error("rope_theta must be positive") }
    kind = .default
    let scaling: JSONField?
    if let parameters { scaling = parameters } else { scaling = try root.optional("rope_scaling") }
    guard let scaling else { return }
    let newName = try scaling.optional("rope_type")
    let oldName = try scaling.optional("type")
    guard let typeField = newName ?? oldName else { return }
    func positive(_ key: String) throws(GoraError) -> Double {
      let field = try scaling.required(key)
      let value = try field.double
      guard value > 0 else { throw field.error("\(field.name) must be positive") }
      return value
    }
    switch try typeField.string {
    case "default": break
    case "linear": kind = .linear(factor: try positive("factor"))
    case "llama3":
      kind = .llama3(
        factor: try positive("factor"), lowFrequency: try positive("low_freq_factor"),
        highFrequency: try positive("high_freq_factor"),
        originalPositions: try positive("original_max_position_embeddings"))
    case let other:
      throw typeField.error("rotary scaling \"\(other)\" is not supported", hint: "supported: default, linear, llama3")
    }
  }

  /// Radians a position, for each of headSize/2 pairs.
  package func inverseFrequencies(headSize: Int) -> [Double] {
    (0..<headSize / 2).map { pair in
      let plain = pow(theta, -2 * Double(pair) / Double(headSize))
      switch kind {
      case .default: return plain
      case .linear(let factor): return plain / factor
      case .llama3(let factor, let low, let high, let original):
        let wavelength = 2 * Double.pi / plain
        if wavelength < original / high { return plain }
        if wavelength > original / low { return plain / factor }
        let smooth = (original / wavelength - low) / (high - low)
        return (1 - smooth) * plain / factor + smooth * plain
      }
    }
  }
}

/// Cosines and sines by position, made once for as many positions as were asked for.
package final class RotaryTable {
  private let frequencies: [Double]
  private let headSize: Int
  private var positions = 0
  private var cosine: [Float] = []
  private var sine: [Float] = []

  package init(_ scaling: RotaryScaling, headSize: Int) {
    self.headSize = headSize
    // Transformers keeps the frequencies in f32; so do we.
    frequencies = scaling.inverseFrequencies(headSize: headSize).map { Double(Float($0)) }
  }

  package func prepare(positions count: Int) {
    guard count > positions else { return }
    for position in positions..<count {
      for frequency in frequencies {
        let angle = Double(Float(position) * Float(frequency))
        cosine.append(Float(cos(angle)))
        sine.append(Float(sin(angle)))
      }
    }
    positions = count
  }

  /// Rotates `heads` heads of each row of x [T, heads·headSize]; `inverse` turns a gradient back.
  package func rotate(_ x: UnsafeMutablePointer<Float>, positions: [Int32], heads: Int, inverse: Bool = false) {
    let width = heads * headSize
    let half = headSize / 2
    cosine.withUnsafeBufferPointer { cosine in
      sine.withUnsafeBufferPointer { sine in
        parallelRanges(positions.count, grain: max(1, 16_384 / width)) { range in
          for t in range {
            let offset = Int(positions[t]) * half
            gora_rotate(
              x + t * width, cosine.baseAddress! + offset, sine.baseAddress! + offset, heads, headSize, inverse ? -1 : 1)
          }
        }
      }
    }
  }
}
