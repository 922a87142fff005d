import Glibc
import GoraCore
import GoraFormats

/// CLIP as a classifier of images (Radford et al. 2021; reference: Transformers' CLIPModel): the vision tower learns, its features are compared with
/// the texts of the classes, which the text tower gives once. Logits are exp(logit_scale)·cos of image and class.
package final class CLIPModel: Model {
  package let config: CLIPConfig
  private let embedding: ImageEmbedding
  package let layers: [CLIPLayer]
  private let head: ImageHead
  private let text: TextTower
  private let logitScale: Parameter
  private let workspace = Workspace()
  private let scratch = CLIPScratch()
  private let activations = ActivationStore()
  private let output = FloatBuffer()
  private let gradient = FloatBuffer()
  package var recomputesActivations = false

  package init(config: CLIPConfig, from source: any ParameterSource) throws(GoraError) {
    self.config = config
    embedding = try ImageEmbedding(config, from: source)
    var layers: [CLIPLayer] = []
    for index in 0..<config.vision.layers {
      layers.append(try CLIPLayer(CLIPConfig.visionPrefix, index: index, tower: config.vision, isCausal: false, from: source))
    }
    self.layers = layers
    head = try ImageHead(config, from: source)
    text = try TextTower(config, from: source)
    logitScale = try source.parameter("logit_scale", shape: [])
  }

  package var parameters: [Parameter] { learnable + text.parameters + [logitScale] }
  /// The vision tower's and its projection; the classes' texts and the scale are made of the others once.
  package var learnable: [Parameter] { embedding.parameters + layers.flatMap(\.parameters) + head.parameters }
  package var blocks: [[Linear]] { layers.map(\.linears) }
  package var linearsByInput: [[Linear]] { layers.flatMap(\.linearsByInput) }

  /// What layers keep from forward to backward.
  private var keeping: ActivationStore.Keeping { keeping(recomputes: recomputesActivations) }
  private func keeping(recomputes: Bool) -> ActivationStore.Keeping {
    recomputes ? .input : roundsToBFloat16 ? .packed : .whole
  }
  private var roundsToBFloat16: Bool { layers.contains(where: \.roundsToBFloat16) }

  // MARK: Classes

  /// Classes that images are told apart by; 0 before `setClasses`.
  package var classCount: Int { head.classCount }

  /// Takes the texts of the classes: a class is the mean of its texts, each as long as 1, made as long as 1 again, times
  /// exp(logit_scale) (the zero-shot head of open_clip).
  /// - Parameter texts: token ids of each class's texts, in the order of the classes.
  package func setClasses(_ texts: [[[Int32]]]) {
    for row in texts.joined() {
      check(row, below: config.vocabularySize, "token id")
      precondition(!row.isEmpty && row.count <= config.textPositions)
    }
    let (features, d) = (text.features(texts.flatMap { $0 }), config.projectionSize)
    let factor = Float(exp(Double(logitScale.vector[0])))
    var classes: [Float] = []
    var next = 0
    for rows in texts {
      var mean = [Float](repeating: 0, count: d)
      for row in next..<next + rows.count { for j in 0..<d { mean[j] += features[row * d + j] / Float(rows.count) } }
      next += rows.count
      mean.withUnsafeMutableBufferPointer { _ = normalise($0.baseAddress!, count: d) }
      classes += mean.map { $0 * factor }
    }
    head.setClasses(classes)
  }

  // MARK: Forward

  /// The last line before memory is read at an index, whatever let it come so far.
  private func check(_ ids: some Sequence<Int32>, below limit: Int, _ name: String) {
    for id in ids where id < 0 || id >= limit {
      Failure.end(GoraError(.data, "\(name) \(id) is out of range; the model has 0 to \(limit - 1)"))
    }
  }

  package func refreshAdapters() { for linear in linears { linear.refresh(workspace: workspace) } }

  /// Runs the vision tower; returns the last layer's output [T, H], valid until the next call.
  ///
  /// Activations are kept from layer `keepFrom` on.
  private func hidden(_ batch: PackedBatch, keepFrom: Int) -> UnsafeMutablePointer<Float> {
    for image in batch.images {
      precondition(
        image.store.width == config.imageSize && image.store.height == config.imageSize, "images have the model's size")
    }
    let size = batch.tokens * config.vision.hiddenSize
    refreshAdapters()
    let keeping = keeping
    let out = output.reserve(size)
    embedding.forward(batch.images, into: out)
    for (index, layer) in layers.enumerated() {
      let (slot, declared) = (index - keepFrom, layer.kept)
      let work = activations.buffers(slot: slot, keeping, declared, tokens: batch.tokens)
      Elementwise.copy(out, to: CLIPLayer.input(of: work), count: size)
      layer.forward(work, starts: batch.starts, scratch: scratch, workspace: workspace, output: out)
      activations.keep(slot: slot, keeping, declared, tokens: batch.tokens)
      // The last layer's weights are the first that backward needs.
      if index < layers.count - 1 { layer.releaseWeights() }
    }
    return out
  }

  /// Logits [images, classes].
  package func logits(_ batch: PackedBatch) -> [Float] {
    let x = hidden(batch, keepFrom: layers.count)
    let out = head.logits(x, images: batch.images.count, workspace: workspace)
    return Array(UnsafeBufferPointer(start: out, count: batch.images.count * classCount))
  }

  package func loss(_ batch: PackedBatch, each: ((Int, Double) -> Void)?) -> Double {
    check(batch.targets.lazy.map(\.label), below: classCount, "class")
    let x = hidden(batch, keepFrom: layers.count)
    return head.loss(
      x, targets: batch.targets, images: batch.images.count, scale: 0, hiddenGradient: nil, each: each, workspace: workspace)
  }

  // MARK: Backward

  package func accumulateGradient(_ batch: PackedBatch, scale: Float, finished: ((Int) -> Void)?) -> Double {
    let lowest = embedding.learns ? 0 : layers.firstIndex(where: \.learns) ?? layers.count
    let keeping = keeping
    let size = batch.tokens * config.vision.hiddenSize
    check(batch.targets.lazy.map(\.label), below: classCount, "class")
    let x = hidden(batch, keepFrom: lowest)
    let dx = gradient.reserve(size)
    dx.update(repeating: 0, count: size)
    let loss = head.loss(
      x, targets: batch.targets, images: batch.images.count, scale: scale, hiddenGradient: dx, workspace: workspace)
    for index in stride(from: layers.count - 1, through: lowest, by: -1) {
      let (layer, declared) = (layers[index], layers[index].kept)
      let own = activations.recall(slot: index - lowest, keeping, declared, tokens: batch.tokens)
      if keeping == .input {
        layer.forward(own, starts: batch.starts, scratch: scratch, workspace: workspace, output: output.pointer)
        if roundsToBFloat16 { own.round(declared, tokens: batch.tokens) }
      }
      layer.backward(
        own, starts: batch.starts, scratch: scratch, workspace: workspace, gradient: dx,
        needsInputGradient: index > lowest || embedding.learns)
      finished?(index)
      layer.releaseWeights()
    }
    if embedding.learns { embedding.backward(dx, images: batch.images.count) }
    return loss
  }

  // MARK: Memory

  package var activationBytesPerToken: Int { 4 * layers.count * CLIPLayer.kept(config.vision).reduce(0) { $0 + $1.width } }

  package func activationBytes(tokens: Int, labelled: Int, lowest: Int, recomputes: Bool) -> Int {
    let floats =
      ActivationStore.floats(layers.map(\.kept), lowest: lowest, keeping(recomputes: recomputes), tokens: tokens)
      + CLIPScratch.floats(config.vision, tokens: tokens, backward: true)
      + tokens * (config.vision.hiddenSize + adapterScratchWidth)
    return 4 * (floats + sharedFloats(tokens: tokens, images: labelled))
  }

  package func lossBytes(tokens: Int, labelled: Int) -> Int {
    let floats =
      ActivationStore.floats(layers.map(\.kept), lowest: layers.count, keeping, tokens: tokens)
      + CLIPScratch.floats(config.vision, tokens: tokens, backward: false)
    return 4 * (floats + sharedFloats(tokens: tokens, images: labelled))
  }

  /// The residual stream, embedding and head, attention's tiles a thread, and what products widen and round.
  private func sharedFloats(tokens: Int, images: Int) -> Int {
    let widest = max(config.vision.intermediateSize, config.vision.hiddenSize)
    return tokens * config.vision.hiddenSize + ImageEmbedding.floats(config, tokens: tokens)
      + ImageHead.floats(config, images: images, classes: classCount)
      + productScratchFloats(headSize: config.vision.headSize, last: head.projectionMatrix, rounded: tokens * widest)
  }

  /// The text tower's weights are read once, before the run.
  package func mappedBytes(distinctTokens: Int, releases: Bool) -> Int {
    residentBytes(of: learnable, releases: releases)
  }
}
