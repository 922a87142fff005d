/// Element types of tensors on disk, spelled as safetensors and GGUF spell them.
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
  // ggml's blocks of quantised elements with a scale, of 32 or (those in K) 256.
  case q80 = "Q8_0"
  case q40 = "Q4_0"
  case q41 = "Q4_1"
  case q50 = "Q5_0"
  case q51 = "Q5_1"
  case q4k = "Q4_K"
  case q5k = "Q5_K"
  case q6k = "Q6_K"

  /// The fewest elements that fill whole bytes by themselves, and their bytes.
  package var block: (elements: Int, bytes: Int) {
    switch self {
    case .f64, .i64, .u64, .c64: (1, 8)
    case .f32, .i32, .u32: (1, 4)
    case .f16, .bf16, .i16, .u16: (1, 2)
    case .i8, .u8, .bool, .f8e5m2, .f8e4m3, .f8e8m0, .f8e5m2fnuz, .f8e4m3fnuz: (1, 1)
    case .f6e3m2, .f6e2m3: (4, 3)
    case .f4: (2, 1)
    case .q80: (32, 34)
    case .q40: (32, 18)
    case .q41: (32, 20)
    case .q50: (32, 22)
    case .q51: (32, 24)
    case .q4k: (256, 144)
    case .q5k: (256, 176)
    case .q6k: (256, 210)
    }
  }

  /// Of one element; 0 where elements share bytes.
  package var byteCount: Int { block.elements == 1 ? block.bytes : 0 }

  /// Bytes of a tensor; nil on overflow, and where it ends within a block.
  package func byteCount(_ shape: [Int]) -> Int? {
    var count = 1
    for size in shape {
      let (next, overflow) = count.multipliedReportingOverflow(by: size)
      if overflow { return nil }
      count = next
    }
    guard count % block.elements == 0 else { return nil }
    let (bytes, overflow) = (count / block.elements).multipliedReportingOverflow(by: block.bytes)
    // As bits too, which readers count in.
    return overflow || bytes > Int.max / 8 ? nil : bytes
  }

  /// Whether the elements are ggml's quantised blocks.
  package var isQuantised: Bool {
    switch self {
    case .q80, .q40, .q41, .q50, .q51, .q4k, .q5k, .q6k: true
    default: false
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
