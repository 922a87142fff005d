import GoraCore

/// What the vision tower begins with (`CLIPVisionEmbeddings` and `pre_layrnorm`): a product with each patch of an image, the class token in front,
/// positions, a norm. N images, P patches each, H hidden.
final class ImageEmbedding {
  private let config: CLIPConfig
  private let classToken: Parameter
  /// [H, 3, side, side]: a product with the 3·side² numbers of a patch.
  private let patches: Parameter
  private let positions: Parameter
  private let norm: LayerNorm
  /// The numbers of the batch's patches [N·P, 3·side²], kept for backward.
  private let values = FloatBuffer()
  private let embedded = FloatBuffer()
  private let products = FloatBuffer()
  private let statistics = FloatBuffer()

  init(_ config: CLIPConfig, from source: any ParameterSource) throws(GoraError) {
    self.config = config
    let h = config.vision.hiddenSize
    let prefix = "\(CLIPConfig.visionPrefix).embeddings"
    classToken = try source.parameter("\(prefix).class_embedding", shape: [h])
    patches = try source.parameter("\(prefix).patch_embedding.weight", shape: [h, 3, config.patchSize, config.patchSize])
    positions = try source.parameter("\(prefix).position_embedding.weight", shape: [config.tokensPerImage, h])
    norm = try LayerNorm(
      "\(CLIPConfig.visionPrefix).pre_layrnorm", width: h, epsilon: config.vision.epsilon, from: source)
  }

  var parameters: [Parameter] { [classToken, patches, positions] + norm.parameters }
  var learns: Bool { parameters.contains { $0.gradient != nil } }

  /// Floats that its buffers come to hold.
  static func floats(_ config: CLIPConfig, tokens: Int) -> Int {
    tokens * (config.patchValues + 2 * config.vision.hiddenSize + 2)
  }

  /// - Parameter x: [N·(P+1), H], overwritten.
  func forward(_ images: [ImageInput], into x: UnsafeMutablePointer<Float>) {
    let (h, p, width) = (config.vision.hiddenSize, config.patches, config.patchValues)
    let tokens = images.count * config.tokensPerImage
    let values = values.reserve(images.count * p * width)
    parallelParts(images.count) { gather(images[$0], into: values + $0 * p * width) }
    let products = products.reserve(images.count * p * h)
    Matmul.sgemm(
      transposeB: true, m: images.count * p, n: h, k: width, a: values, lda: width, b: patches.vector, ldb: width, c: products,
      ldc: h)
    let embedded = embedded.reserve(tokens * h)
    for image in 0..<images.count {
      let first = embedded + image * config.tokensPerImage * h
      positions.matrix.widen(0..<config.tokensPerImage, into: first)
      for j in 0..<h { first[j] += classToken.vector[j] }
      let product = products + image * p * h
      for i in 0..<p * h { first[h + i] += product[i] }
    }
    norm.forward(embedded, into: x, statistics: statistics.reserve(2 * tokens), rows: tokens)
  }

  /// The numbers of an image's patches, row by row of patches; in each, channel by channel.
  private func gather(_ image: ImageInput, into out: UnsafeMutablePointer<Float>) {
    let (side, count, width) = (config.patchSize, config.patchesPerSide, image.store.width)
    let pixels = image.pixels
    image.store.values.withUnsafeBufferPointer { table in
      var next = out
      for row in 0..<count {
        for column in 0..<count {
          for channel in 0..<3 {
            for y in row * side..<(row + 1) * side {
              let from = (y * width + column * side) * 3 + channel
              for x in 0..<side { next[x] = table[channel * 256 + Int(pixels[from + 3 * x])] }
              next += side
            }
          }
        }
      }
    }
  }

  /// Adds the gradients of what learns; `gradient` [N·(P+1), H] enters as ∂L/∂x and is overwritten.
  func backward(_ gradient: UnsafeMutablePointer<Float>, images: Int) {
    let (h, p, width) = (config.vision.hiddenSize, config.patches, config.patchValues)
    let tokens = images * config.tokensPerImage
    norm.backward(
      gradient, x: embedded.pointer, statistics: statistics.pointer, rows: tokens, dx: gradient, accumulates: false)
    for image in 0..<images {
      let first = gradient + image * config.tokensPerImage * h
      if let sum = classToken.gradient { for j in 0..<h { sum.pointer[j] += first[j] } }
      if let sum = positions.gradient { for i in 0..<config.tokensPerImage * h { sum.pointer[i] += first[i] } }
      products.pointer.advanced(by: image * p * h).update(from: first + h, count: p * h)
    }
    if let sum = patches.gradient {
      Matmul.sgemm(
        transposeA: true, m: h, n: width, k: images * p, a: products.pointer, lda: h, b: values.pointer, ldb: width, beta: 1,
        c: sum.pointer, ldc: width)
    }
  }
}
