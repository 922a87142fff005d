/// What attention adds to its scores by head and by the distance of key and query: value[head·stride + key − query], and where the sums
/// of its gradient lie, if they are asked for. Positions count from a row's beginning.
struct AttentionBias {
  /// Of head 0 and distance 0.
  let values: UnsafePointer<Float>
  /// Floats from one head to the next: the longest row's distances fit.
  let stride: Int
  /// Sums of each row by itself, [heads, queries + keys − 1] a row and row after row, overwritten by backward.
  var gradient: UnsafeMutablePointer<Float>?

  /// Floats of `gradient` for one row and head.
  static func distances(queries: Int, keys: Int) -> Int { queries + keys - 1 }
}
