import CGoraKernels
import GoraCore

/// How an image is resized, with the filter stretched where it shrinks (antialias), in Pillow's fixed-point arithmetic: both
/// directions one after the other, rounded to 8 bits between them (Pillow's `Image.resize`; src/libImaging/Resample.c).
package enum ResampleFilter: Int, Sendable, CaseIterable {
  case bilinear = 2
  /// Keys' cubic with a = −0.5.
  case bicubic = 3

  /// Beyond this distance, in pixels of the smaller image, the filter is 0.
  private var support: Double { self == .bilinear ? 1 : 2 }

  private func weight(_ distance: Double) -> Double {
    let x = abs(distance)
    switch self {
    case .bilinear: return x < 1 ? 1 - x : 0
    case .bicubic:
      let a = -0.5
      if x < 1 { return ((a + 2) * x - (a + 3)) * x * x + 1 }
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0
    }
  }

  /// The weights of one direction.
  struct Taps {
    /// First pixel and number of pixels that each one of the outputs is made of.
    var first: [Int32] = []
    var count: [Int32] = []
    /// [outputs, stride], in 22 bits after the point.
    var weights: [Int32] = []
    let stride: Int
  }

  /// Bits after the point: 8 bits of a sample and 2 of headroom leave 22 of 32.
  private static let precision = Double(1 << 22)

  /// - Parameters:
  ///   - size: pixels there are.
  ///   - newSize: pixels there are to be.
  func taps(from size: Int, to newSize: Int) -> Taps {
    let scale = Double(size) / Double(newSize)
    let stretch = max(scale, 1)
    let support = support * stretch
    var taps = Taps(stride: Int(support.rounded(.up)) * 2 + 1)
    for output in 0..<newSize {
      let centre = (Double(output) + 0.5) * scale
      let from = max(0, Int(centre - support + 0.5))
      let to = min(size, Int(centre + support + 0.5))
      let weights = (from..<to).map { weight((Double($0) - centre + 0.5) * (1 / stretch)) }
      let sum = weights.reduce(0, +)
      taps.first.append(Int32(from))
      taps.count.append(Int32(to - from))
      for weight in weights {
        let normalised = (sum == 0 ? weight : weight / sum) * Self.precision
        taps.weights.append(Int32(normalised < 0 ? normalised - 0.5 : normalised + 0.5))
      }
      taps.weights += repeatElement(0, count: taps.stride - weights.count)
    }
    return taps
  }
}

extension RGBImage {
  /// The image in another size, the same bytes as Pillow's: columns first, but rows first where the height shrinks, and by more than twice
  /// what the width does (Pillow 13; earlier ones take columns first always, which may differ by 1).
  package func resized(width newWidth: Int, height newHeight: Int, by filter: ResampleFilter) -> RGBImage {
    let shrinks = height - newHeight
    return shrinks > 0 && shrinks > 2 * (width - newWidth)
      ? resized(height: newHeight, by: filter).resized(width: newWidth, by: filter)
      : resized(width: newWidth, by: filter).resized(height: newHeight, by: filter)
  }

  private func resized(width newWidth: Int, by filter: ResampleFilter) -> RGBImage {
    if newWidth == width { return self }
    let taps = filter.taps(from: width, to: newWidth)
    let result = [UInt8](unsafeUninitializedCapacity: newWidth * height * 3) { out, count in
      gora_resample_rows(pixels, out.baseAddress, height, width, newWidth, taps.first, taps.count, taps.weights, taps.stride)
      count = newWidth * height * 3
    }
    return RGBImage(width: newWidth, height: height, pixels: result)
  }

  private func resized(height newHeight: Int, by filter: ResampleFilter) -> RGBImage {
    if newHeight == height { return self }
    let taps = filter.taps(from: height, to: newHeight)
    let result = [UInt8](unsafeUninitializedCapacity: width * newHeight * 3) { out, count in
      gora_resample_columns(pixels, out.baseAddress, width * 3, newHeight, taps.first, taps.count, taps.weights, taps.stride)
      count = width * newHeight * 3
    }
    return RGBImage(width: width, height: newHeight, pixels: result)
  }
}
