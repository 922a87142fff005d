import GoraCore

/// A datatype, as far as gora's files and their attributes need one.
enum HDF5Type: Sendable, Equatable {
  case integer(size: Int, isSigned: Bool, isBigEndian: Bool)
  /// IEEE 754.
  case float(size: Int, isBigEndian: Bool)
  case text(size: Int)
  case variableText
  case other

  init(_ message: inout HDF5Cursor) throws(GoraError) {
    let first = try message.byte()
    let bits = try message.number(3)
    let size = try message.number(4)
    switch first & 15 {
    case 0:
      guard try message.number(2) == 0, try message.number(2) == 8 * size, [1, 2, 4, 8].contains(size) else {
        self = .other
        return
      }
      self = .integer(size: size, isSigned: bits & 8 != 0, isBigEndian: bits & 1 != 0)
    case 1:
      let fields = try message.take(12)
      // Offset, precision, exponent (place, bits), mantissa (place, bits), exponent's bias.
      let layouts: [Int: [UInt8]] = [
        4: [0, 0, 32, 0, 23, 8, 0, 23, 127, 0, 0, 0], 8: [0, 0, 64, 0, 52, 11, 0, 52, 255, 3, 0, 0],
      ]
      // An implied leading bit, the sign in the highest bit, little- or big-endian, no padding of ones.
      let isIEEE = layouts[size]?.elementsEqual(fields) == true && bits & 0x70 == 0x20 && bits >> 8 == 8 * size - 1
      self = isIEEE ? .float(size: size, isBigEndian: bits & 1 != 0) : .other
    case 3: self = .text(size: size)
    case 9: self = bits & 15 == 1 ? .variableText : .other
    default: self = .other
    }
  }
}

/// The extents of a dataset or attribute.
struct HDF5Space: Sendable {
  /// Empty for a single value, nil for none at all.
  let shape: [Int]?
  /// How far a dataset may grow; nil for without end.
  let most: [Int?]

  init(_ message: inout HDF5Cursor) throws(GoraError) {
    let version = try message.byte()
    guard version == 1 || version == 2 else { throw message.damaged("version \(version); expected 1 or 2") }
    let rank = try message.byte()
    let flags = try message.byte()
    let kind = try message.byte()
    if version == 1 { try message.skip(4) }
    if version == 2, kind == 2 {
      (shape, most) = (nil, [])
      return
    }
    var extents: [Int] = []
    for _ in 0..<rank { extents.append(try message.length()) }
    var limits: [Int?] = extents
    if flags & 1 != 0 {
      for i in 0..<rank {
        let limit = try message.bits(message.storage.lengthWidth)
        limits[i] = limit < 1 << 62 ? Int(limit) : nil
      }
    }
    (shape, most) = (extents, limits)
  }
}
