/// Images of one size as a model sees them: samples in 8 bits, and the number that stands for each.
package final class PixelStore: @unchecked Sendable {
  package let width: Int
  package let height: Int
  /// The numbers of the samples 0…255 of red, green and blue [3, 256].
  package let values: [Float]
  /// Tokens that the model makes of an image.
  package let tokens: Int
  /// [capacity, height, width, 3] bytes; written before anyone reads.
  private let buffer: FloatBuffer

  /// Bytes of an image.
  package var byteCount: Int { width * height * 3 }

  /// Floats that images of a size take.
  package static func floats(images: Int, width: Int, height: Int) -> Int { (images * width * height * 3 + 3) / 4 }

  /// - Parameter buffer: room for `floats(…)`.
  package init(width: Int, height: Int, values: [Float], tokens: Int, buffer: FloatBuffer) {
    precondition(values.count == 3 * 256)
    (self.width, self.height, self.values, self.tokens, self.buffer) = (width, height, values, tokens, buffer)
  }

  /// The samples [height, width, 3] of an image.
  package func pixels(_ index: Int) -> UnsafeMutablePointer<UInt8> {
    UnsafeMutableRawPointer(buffer.pointer).assumingMemoryBound(to: UInt8.self) + index * byteCount
  }
}

/// One of the images of a store.
package struct ImageInput: Sendable, Equatable {
  package let store: PixelStore
  package let index: Int

  package init(_ store: PixelStore, _ index: Int) { (self.store, self.index) = (store, index) }

  package var pixels: UnsafeMutablePointer<UInt8> { store.pixels(index) }

  package static func == (a: ImageInput, b: ImageInput) -> Bool { a.store === b.store && a.index == b.index }
}
