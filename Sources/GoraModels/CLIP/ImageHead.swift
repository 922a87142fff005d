import CGoraKernels
import GoraCore

/// What the vision tower ends with: the class token's state through a norm and a projection, made as long as 1, against the classes' texts; and
/// the cross-entropy of the products. N images, H hidden, D of the shared space, C classes.
final class ImageHead {
  private let norm: LayerNorm
  private let projection: Linear
  private let tokensPerImage: Int
  /// The classes' texts times the scale of the logits [C, D].
  private var classes: [Float] = []
  private let pooled = FloatBuffer()
  private let statistics = FloatBuffer()
  private let normalised = FloatBuffer()
  private let features = FloatBuffer()
  private var lengths: [Float] = []
  private let logits = FloatBuffer()
  private let dFeatures = FloatBuffer()
  private let dNormalised = FloatBuffer()
  private let nothing = FloatBuffer()

  init(_ config: CLIPConfig, from source: any ParameterSource) throws(GoraError) {
    let h = config.vision.hiddenSize
    norm = try LayerNorm(
      "\(CLIPConfig.visionPrefix).post_layernorm", width: h, epsilon: config.vision.epsilon, from: source)
    projection = try Linear(
      name: "visual_projection", outputSize: config.projectionSize, inputSize: h, hasBias: false, from: source)
    tokensPerImage = config.tokensPerImage
  }

  var parameters: [Parameter] { norm.parameters + [projection.weight] }
  var projectionMatrix: WeightMatrix { projection.weight.matrix }
  var classCount: Int { classes.count / projection.outputSize }

  /// - Parameter classes: [C, D].
  func setClasses(_ classes: [Float]) { self.classes = classes }

  /// Floats that its buffers come to hold.
  static func floats(_ config: CLIPConfig, images: Int, classes: Int) -> Int {
    images * (3 * config.vision.hiddenSize + 3 + 2 * config.projectionSize + classes)
  }

  /// Logits [N, C]; valid until the next call.
  func logits(_ hidden: UnsafePointer<Float>, images: Int, workspace: Workspace) -> UnsafeMutablePointer<Float> {
    precondition(classCount > 0, "the classes' texts have not been given")
    let (h, d) = (projection.inputSize, projection.outputSize)
    let x = pooled.reserve(images * h)
    for i in 0..<images { (x + i * h).update(from: hidden + i * tokensPerImage * h, count: h) }
    let y = normalised.reserve(images * h)
    norm.forward(x, into: y, statistics: statistics.reserve(2 * images), rows: images)
    let f = features.reserve(images * d)
    projection.forward(y, tokens: images, into: f, down: nothing, workspace: workspace)
    lengths = (0..<images).map { normalise(f + $0 * d, count: d) }
    let out = logits.reserve(images * classCount)
    Matmul.sgemm(transposeB: true, m: images, n: classCount, k: d, a: f, lda: d, b: classes, ldb: d, c: out, ldc: classCount)
    return out
  }

  /// Sum of the losses of the images whose classes `targets` has; each is also handed to `each`.
  ///
  /// With `hiddenGradient` [N·tokens, H] (zeroed by the caller) the gradient of scale·Σ loss is added there, and to the sums of what
  /// learns here.
  func loss(
    _ hidden: UnsafePointer<Float>, targets: [(token: Int, label: Int32)], images: Int, scale: Float,
    hiddenGradient: UnsafeMutablePointer<Float>?, each: ((Int, Double) -> Void)? = nil, workspace: Workspace
  ) -> Double {
    let (h, d) = (projection.inputSize, projection.outputSize)
    let out = logits(hidden, images: images, workspace: workspace)
    var total = 0.0
    let scale = hiddenGradient == nil ? 0 : scale
    for (index, target) in targets.enumerated() {
      let loss = gora_cross_entropy(out + target.token * classCount, classCount, Int(target.label), scale)
      total += loss
      each?(index, loss)
    }
    guard let hiddenGradient else { return total }
    let df = dFeatures.reserve(images * d)
    Matmul.sgemm(m: images, n: d, k: classCount, a: out, lda: classCount, b: classes, ldb: d, c: df, ldc: d)
    // Through the division by the length: df = (df̂ − f̂ (f̂·df̂)) / |f|
    for i in 0..<images {
      let (g, f) = (df + i * d, features.pointer + i * d)
      let along = (0..<d).reduce(Float(0)) { $0 + f[$1] * g[$1] }
      for j in 0..<d { g[j] = (g[j] - f[j] * along) / lengths[i] }
    }
    let dy = dNormalised.reserve(images * h)
    projection.backward(df, x: normalised.pointer, down: nothing, tokens: images, dx: dy, workspace: workspace)
    norm.backward(dy, x: pooled.pointer, statistics: statistics.pointer, rows: images, dx: dy, accumulates: false)
    for i in 0..<images { gora_add(hiddenGradient + i * tokensPerImage * h, dy + i * h, h) }
    return total
  }
}

/// Makes a vector as long as 1; returns how long it was.
func normalise(_ x: UnsafeMutablePointer<Float>, count: Int) -> Float {
  let length = Float(gora_sum_squares(x, count).squareRoot())
  for i in 0..<count { x[i] /= length }
  return length
}
