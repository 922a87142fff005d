/// Floats as the elements of a file, rounded once.
package enum BlockEncoding {
  /// - Parameters:
  ///   - values: whole blocks of the type.
  ///   - dtype: F32, F16, BF16 or Q8_0.
  /// - Returns: nil where a value does not fit.
  package static func bytes(of values: [Float], as dtype: DType) -> [UInt8]? {
    func bytes<Element>(limit: Float, _ convert: (Float) -> Element) -> [UInt8]? {
      guard values.allSatisfy({ $0.magnitude <= limit }) else { return nil }
      return values.map(convert).withUnsafeBytes { Array($0) }
    }
    switch dtype {
    case .f32: return bytes(limit: .greatestFiniteMagnitude) { $0 }
    case .f64: return bytes(limit: .greatestFiniteMagnitude) { Double($0) }
    // The largest floats round up to infinity.
    case .bf16: return bytes(limit: Float(bitPattern: 0x7F7F_7FFF)) { BFloat16($0).bitPattern }
    case .f16: return bytes(limit: 65519.99) { Float16($0) }
    case .q80: return q80(values)
    default: preconditionFailure("\(dtype) is not written")
    }
  }

  /// Blocks of 32: d = max|x|/127 in F16, then round(x/d), halves away from zero, as gguf-py has it (`quants.py`).
  private static func q80(_ values: [Float]) -> [UInt8]? {
    let (elements, size) = DType.q80.block
    precondition(values.count % elements == 0)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(values.count / elements * size)
    for start in stride(from: 0, to: values.count, by: elements) {
      let block = values[start..<start + elements]
      var largest: Float = 0
      for value in block {
        guard value.isFinite else { return nil }
        largest = max(largest, value.magnitude)
      }
      let d = largest / 127
      guard d <= 65504 else { return nil }
      let inverse = d == 0 ? 0 : 1 / d
      withUnsafeBytes(of: Float16(d).bitPattern.littleEndian) { bytes.append(contentsOf: $0) }
      for value in block { bytes.append(UInt8(bitPattern: Int8((value * inverse).rounded(.toNearestOrAwayFromZero)))) }
    }
    return bytes
  }
}
