import CGoraKernels
import GoraCore

/// y += x, on the pool.
func addFloats(_ x: UnsafePointer<Float>, to y: UnsafeMutablePointer<Float>, count: Int) {
  nonisolated(unsafe) let (x, y) = (x, y)
  parallelRanges(count, grain: 65_536, alignment: 16) { gora_add(y + $0.lowerBound, x + $0.lowerBound, $0.count) }
}
