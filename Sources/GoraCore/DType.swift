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
  // Never computed with: what a checkpoint may hold beside its weights.
  case u64 = "U64"
  case u32 = "U32"
  case u16 = "U16"
  case c64 = "C64"
  case f8e5m2 = "F8_E5M2"
  case f8e4m3 = "F8_E4M3"
  case f8e8m0 = "F8_E8M0"
  case f8e5m2fnuz = "F8_E5M2FNUZ"
  case f8e4m3fnuz = "F8_E4M3FNUZ"
  case f6e3m2 = "F6_E3M2"
  case f6e2m3 = "F6_E2M3"
  case f4 = "F4"

  package var bitCount: Int {
    switch self {
    case .f64, .i64, .u64, .c64: 64
    case .f32, .i32, .u32: 32
    case .f16, .bf16, .i16, .u16: 16
    case .i8, .u8, .bool, .f8e5m2, .f8e4m3, .f8e8m0, .f8e5m2fnuz, .f8e4m3fnuz: 8
    case .f6e3m2, .f6e2m3: 6
    case .f4: 4
    }
  }

  /// Of one element; 0 where elements share bytes.
  package var byteCount: Int { bitCount / 8 }
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
