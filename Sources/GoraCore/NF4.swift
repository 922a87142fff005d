import CGoraKernels

/// A frozen weight in 4-bit NormalFloat with doubly quantised scales: 4.127 bits an element (Dettmers et al. 2023, "QLoRA").
///
/// Layout and codes are those of bitsandbytes for `quant_type` "nf4" with `compress_statistics`: blocks of 64 along the flattened
/// weight, scaled by their largest magnitude; these scales, less their mean, in 8 bits of the dynamic map in blocks of 256.
package final class NF4Weight: Sendable {
  /// The 16 values of a code.
  package static let table = withUnsafeBytes(of: gora_nf4_table) { Array($0.bindMemory(to: Float.self)) }

  /// Elements that one thread widens and encodes at a time: one block of scales.
  private static let chunk = 64 * 256

  package let count: Int
  /// Two elements a byte, the even one in the high half.
  package let codes: [UInt8]
  /// One byte a block of 64 elements.
  package let scales: [UInt8]
  /// One float a block of 256 scales.
  package let second: [Float]
  /// The mean of the blocks' largest magnitudes.
  package let offset: Float

  /// Bytes that so many elements take, within a few for each weight.
  package static func byteCount(elements: Int) -> Int { (elements + 1) / 2 + elements / 64 + 4 * (elements / (64 * 256)) + 4 }

  package var byteCount: Int { codes.count + scales.count + 4 * second.count + 4 }

  /// Encodes `count` elements, a chunk at a time on each thread: the weight need never be there as floats.
  /// - Parameters:
  ///   - location: of the weight, for the message.
  ///   - widen: writes the elements of a range as floats; called on the pool, for ranges in no fixed order.
  /// - Throws: `.data` where an element is NaN or infinite.
  package init(
    count: Int, at location: Location, widen: (Range<Int>, UnsafeMutablePointer<Float>) -> Void
  ) throws(GoraError) {
    let chunk = Self.chunk
    let chunks = (count + chunk - 1) / chunk
    let blocks = (count + 63) / 64
    func range(_ index: Int) -> Range<Int> { index * chunk..<min(count, (index + 1) * chunk) }
    let absmax = FloatBuffer(capacity: blocks)
    let codes = [UInt8](unsafeUninitializedCapacity: (count + 1) / 2) { buffer, initialized in
      initialized = (count + 1) / 2
      guard let codes = buffer.baseAddress else { return }
      let threads = min(ThreadPool.threads, chunks)
      parallelParts(threads) { part in
        let wide = FloatBuffer(capacity: chunk)
        for index in stride(from: part, to: chunks, by: threads) {
          let range = range(index)
          widen(range, wide.pointer)
          gora_nf4_encode(wide.pointer, range.count, codes + range.lowerBound / 2, absmax.pointer + range.lowerBound / 64)
        }
      }
    }
    guard gora_all_finite(absmax.pointer, blocks) else {
      let wide = FloatBuffer(capacity: chunk)
      for index in 0..<chunks {
        let range = range(index)
        widen(range, wide.pointer)
        guard let bad = (0..<range.count).first(where: { !wide.pointer[$0].isFinite }) else { continue }
        throw GoraError(
          .data, at: location,
          "value \(wide.pointer[bad]) at element \(range.lowerBound + bad); a weight must be finite to be quantised")
      }
      throw GoraError(.data, at: location, "a weight must be finite to be quantised")
    }
    var sum = 0.0
    for block in 0..<blocks { sum += Double(absmax.pointer[block]) }
    let offset = Float(sum / Double(max(1, blocks)))
    var second = [Float](repeating: 0, count: (blocks + 255) / 256)
    scales = [UInt8](unsafeUninitializedCapacity: blocks) { buffer, initialized in
      initialized = blocks
      guard let scales = buffer.baseAddress else { return }
      gora_nf4_encode_scales(absmax.pointer, blocks, offset, scales, &second)
    }
    self.count = count
    self.codes = codes
    self.second = second
    self.offset = offset
  }

  /// Writes the elements of a range of the flattened weight in bf16, to the nearest.
  package func decode(_ range: Range<Int>, into out: UnsafeMutablePointer<UInt16>) {
    withBlocks(range) { gora_nf4_decode_bf16(&$0, range.lowerBound, range.count, out) }
  }

  /// Writes the elements of a range of the flattened weight.
  /// - Parameter rounds: to bf16, to the nearest.
  package func decode(_ range: Range<Int>, rounds: Bool = false, into out: UnsafeMutablePointer<Float>) {
    withBlocks(range) { gora_nf4_decode(&$0, range.lowerBound, range.count, rounds, out) }
  }

  private func withBlocks(_ range: Range<Int>, _ body: (inout gora_nf4) -> Void) {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "\(range) of \(count) elements")
    codes.withUnsafeBufferPointer { codes in
      scales.withUnsafeBufferPointer { scales in
        second.withUnsafeBufferPointer { second in
          var weight = gora_nf4(
            codes: codes.baseAddress, scales: scales.baseAddress, second: second.baseAddress, offset: offset)
          body(&weight)
        }
      }
    }
  }
}
