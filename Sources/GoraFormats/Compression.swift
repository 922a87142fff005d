import GoraCore

/// How the chunks of a dataset are compressed; byte shuffle goes before, a Fletcher-32 checksum after.
package enum Compression: Sendable, Equatable, CustomStringConvertible {
  /// Zstandard (filter 32015), level 1...22.
  case zstd(Int)
  /// Deflate, which every HDF5 tool reads, level 1...9.
  case gzip(Int)
  case none

  /// Reads `zstd` (level 3), `zstd:19`, `gzip` (level 4, as h5py), `gzip:9` or `none`.
  /// - Throws: `.usage` for anything else.
  package init(parsing text: String) throws(GoraError) {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    let level = parts.count > 1 ? Int(parts[1]) : nil
    switch (parts[0], parts.count > 1, level) {
    case ("none", false, _): self = .none
    case ("zstd", false, _): self = .zstd(3)
    case ("zstd", true, .some(1...22)): self = .zstd(level ?? 3)
    case ("gzip", false, _): self = .gzip(4)
    case ("gzip", true, .some(1...9)): self = .gzip(level ?? 4)
    default:
      throw GoraError(
        .usage, "unknown compression \"\(text)\"",
        hint: "use zstd:1 to zstd:22, gzip:1 to gzip:9, or none")
    }
  }

  package var description: String {
    switch self {
    case .zstd(let level): "zstd:\(level)"
    case .gzip(let level): "gzip:\(level)"
    case .none: "none"
    }
  }
}
