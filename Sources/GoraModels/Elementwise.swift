import CGoraKernels
import GoraCore

/// Loops over whole activations, shared out among the threads.
package enum Elementwise {
  package static func add(_ x: UnsafePointer<Float>, to y: UnsafeMutablePointer<Float>, count: Int) {
    parallelRanges(count, grain: 65_536, alignment: 16) { gora_add(y + $0.lowerBound, x + $0.lowerBound, $0.count) }
  }

  static func copy(_ x: UnsafePointer<Float>, to y: UnsafeMutablePointer<Float>, count: Int) {
    parallelRanges(count, grain: 65_536, alignment: 16) { (y + $0.lowerBound).update(from: x + $0.lowerBound, count: $0.count) }
  }

  /// To the values that bf16 holds.
  static func round(_ x: UnsafeMutablePointer<Float>, count: Int) {
    parallelRanges(count, grain: 65_536, alignment: 16) { gora_round_bf16(x + $0.lowerBound, x + $0.lowerBound, $0.count) }
  }
}
