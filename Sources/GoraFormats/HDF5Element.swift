/// The element types of gora's datasets.
enum HDF5Element: String, Sendable {
  case float32, float64, int64, uint16

  var byteCount: Int {
    switch self {
    case .float32: 4
    case .float64, .int64: 8
    case .uint16: 2
    }
  }

  /// The byte order of a stored type that is this one; nil for another type.
  func isBigEndian(_ type: HDF5Type) -> Bool? {
    switch (self, type) {
    case (.float32, .float(4, let big)), (.float64, .float(8, let big)), (.int64, .integer(8, true, let big)),
      (.uint16, .integer(2, false, let big)):
      big
    default: nil
    }
  }
}
