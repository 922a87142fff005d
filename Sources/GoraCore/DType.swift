/// Element types of tensors on disk, spelled as safetensors spells them.
package enum DType: String, Sendable, CaseIterable {
  case f64 = "F64"
  case f32 = "F32"
  case f16 = "F16"
  case bf16 = "BF16"
  case i64 = "I64"
  case i32 = "I32"
  case i16 = "I16"
  case i8 = "I8"
  case u8 = "U8"
  case bool = "BOOL"

  package var byteCount: Int {
    switch self {
    case .f64, .i64: 8
    case .f32, .i32: 4
    case .f16, .bf16, .i16: 2
    case .i8, .u8, .bool: 1
    }
  }
}

/// The upper half of a binary32: 1 sign, 8 exponent, 7 fraction bits.
package struct BFloat16: Sendable, Equatable {
  package var bitPattern: UInt16

  package init(bitPattern: UInt16) { self.bitPattern = bitPattern }

  /// Rounds to nearest, ties to even; NaN stays NaN.
  package init(_ value: Float) {
    let bits = value.bitPattern
    if value.isNaN {
      bitPattern = UInt16(truncatingIfNeeded: bits >> 16) | 0x0040
    } else {
      bitPattern = UInt16(truncatingIfNeeded: (bits &+ 0x7FFF &+ (bits >> 16 & 1)) >> 16)
    }
  }
}

extension Float {
  package init(_ value: BFloat16) { self.init(bitPattern: UInt32(value.bitPattern) << 16) }
}
