import GoraCore

/// The types of a GGUF file's metadata, by their numbers there.
package enum GGUFValueType: UInt32, Sendable {
  case uint8, int8, uint16, int16, uint32, int32, float32, bool, string, array, uint64, int64, float64

  /// Least bytes of a value.
  var size: Int {
    switch self {
    case .uint8, .int8, .bool: 1
    case .uint16, .int16: 2
    case .uint32, .int32, .float32: 4
    case .string, .uint64, .int64, .float64: 8
    case .array: 12
    }
  }
}

/// A value of a GGUF file's metadata; strings and arrays stay in the file until they are asked for.
package enum GGUFValue: Sendable {
  case integer(Int)
  /// An unsigned integer of more than 63 bits.
  case huge(UInt64)
  case number(Double)
  case bool(Bool)
  /// The bytes of the file.
  case string(Range<Int>)
  /// `count` elements of one type from byte `start` on; strings each have their length before them.
  case array(GGUFValueType, count: Int, start: Int)

  /// Reads one value and checks that all of it lies in the file.
  init(reading cursor: inout GGUFCursor) throws(GoraError) {
    let type = try Self.type(&cursor)
    guard type == .array else {
      self = try Self.scalar(type, &cursor)
      return
    }
    let element = try Self.type(&cursor)
    if element == .array { throw cursor.error("an array of arrays", hint: "no key that is read here has one") }
    let count = try cursor.count(of: "elements", size: element.size)
    let start = cursor.offset
    switch element {
    case .string: for _ in 0..<count { _ = try cursor.string() }
    case .bool: for _ in 0..<count { _ = try Self.scalar(.bool, &cursor) }
    default: try cursor.skip(count * element.size)
    }
    self = .array(element, count: count, start: start)
  }

  private static func type(_ cursor: inout GGUFCursor) throws(GoraError) -> GGUFValueType {
    let place = cursor.offset
    let number = try cursor.number(UInt32.self)
    guard let type = GGUFValueType(rawValue: number) else {
      throw cursor.error("value type \(number); known are 0 to 12", at: place)
    }
    return type
  }

  /// Anything but an array.
  static func scalar(_ type: GGUFValueType, _ cursor: inout GGUFCursor) throws(GoraError) -> GGUFValue {
    switch type {
    case .uint8: return .integer(Int(try cursor.number(UInt8.self)))
    case .int8: return .integer(Int(try cursor.number(Int8.self)))
    case .uint16: return .integer(Int(try cursor.number(UInt16.self)))
    case .int16: return .integer(Int(try cursor.number(Int16.self)))
    case .uint32: return .integer(Int(try cursor.number(UInt32.self)))
    case .int32: return .integer(Int(try cursor.number(Int32.self)))
    case .int64: return .integer(Int(try cursor.number(Int64.self)))
    case .uint64:
      let number = try cursor.number(UInt64.self)
      return Int(exactly: number).map { .integer($0) } ?? .huge(number)
    case .float32: return .number(Double(Float(bitPattern: try cursor.number(UInt32.self))))
    case .float64: return .number(Double(bitPattern: try cursor.number(UInt64.self)))
    case .bool:
      let place = cursor.offset
      let byte = try cursor.number(UInt8.self)
      guard byte <= 1 else { throw cursor.error("a truth value of \(byte); expected 0 or 1", at: place) }
      return .bool(byte == 1)
    case .string: return .string(try cursor.string())
    case .array: preconditionFailure("arrays are read by init")
    }
  }
}

/// A key of a GGUF file's metadata with the accessors that throw errors which name file and key (exit 65).
package struct GGUFField: Sendable {
  package let key: String
  package let value: GGUFValue
  let file: MappedFile

  package func error(_ problem: String, hint: String? = nil) -> GoraError {
    GoraError(.data, at: .object(file.path, name: " key \"\(key)\""), problem, hint: hint)
  }

  package var string: String {
    get throws(GoraError) {
      guard case .string(let range) = value else { throw error("must be a string") }
      return try text(range)
    }
  }

  private func text(_ range: Range<Int>) throws(GoraError) -> String {
    defer { withExtendedLifetime(file) {} }
    guard let text = String(validating: file.bytes[range], as: UTF8.self) else { throw error("is not UTF-8") }
    return text
  }

  package var bool: Bool {
    get throws(GoraError) {
      guard case .bool(let flag) = value else { throw error("must be true or false") }
      return flag
    }
  }

  package var int: Int {
    get throws(GoraError) { try integer(value) }
  }

  private func integer(_ value: GGUFValue) throws(GoraError) -> Int {
    switch value {
    case .integer(let number): return number
    case .huge(let number): throw error("is \(number), which is too large")
    default: throw error("must be an integer")
    }
  }

  package func int(in range: ClosedRange<Int>) throws(GoraError) -> Int {
    let number = try int
    guard range.contains(number) else { throw error("is \(number); expected \(range.lowerBound) to \(range.upperBound)") }
    return number
  }

  /// Infinities and NaN are refused.
  package var double: Double {
    get throws(GoraError) { try finite(value) }
  }

  private func finite(_ value: GGUFValue) throws(GoraError) -> Double {
    switch value {
    case .integer(let number): return Double(number)
    case .huge(let number): return Double(number)
    case .number(let number) where number.isFinite: return number
    case .number(let number): throw error("is \(number); expected a finite number")
    default: throw error("must be a number")
    }
  }

  /// Number of elements; nil for what is no array.
  package var count: Int? {
    guard case .array(_, let count, _) = value else { return nil }
    return count
  }

  /// The elements in order.
  private func elements<Element>(
    _ read: (GGUFValue) throws(GoraError) -> Element
  ) throws(GoraError) -> [Element] {
    guard case .array(let type, let count, let start) = value else { throw error("must be an array") }
    defer { withExtendedLifetime(file) {} }
    var cursor = GGUFCursor(file)
    cursor.part = "key \"\(key)\""
    try cursor.skip(start)
    var elements: [Element] = []
    elements.reserveCapacity(count)
    for _ in 0..<count { elements.append(try read(try GGUFValue.scalar(type, &cursor))) }
    return elements
  }

  /// An array of strings.
  package var strings: [String] {
    get throws(GoraError) {
      try elements { value throws(GoraError) in
        guard case .string(let range) = value else { throw error("must be an array of strings") }
        return try text(range)
      }
    }
  }

  /// An array of strings that need not be UTF-8.
  package var byteStrings: [[UInt8]] {
    get throws(GoraError) {
      try elements { value throws(GoraError) in
        guard case .string(let range) = value else { throw error("must be an array of strings") }
        return Array(file.bytes[range])
      }
    }
  }

  /// An array of integers.
  package var ints: [Int] {
    get throws(GoraError) { try elements { value throws(GoraError) in try integer(value) } }
  }

  /// An array of finite numbers.
  package var floats: [Double] {
    get throws(GoraError) { try elements { value throws(GoraError) in try finite(value) } }
  }
}
