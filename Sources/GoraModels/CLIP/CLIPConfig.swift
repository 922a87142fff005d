import GoraCore
import GoraFormats

/// What config.json says of a CLIP model, in Hugging Face's terms.
package struct CLIPConfig: ModelConfig, Equatable {
  /// One of both transformers.
  package struct Tower: Sendable, Equatable {
    package var hiddenSize: Int
    package var intermediateSize: Int
    package var layers: Int
    package var heads: Int
    package var epsilon: Float
    package var activation: GELUActivation
    package var initializerRange: Double
    package var initializerFactor: Double

    package var headSize: Int { hiddenSize / heads }
  }

  package var vision: Tower
  package var text: Tower
  /// Pixels of a side, of the image and of a patch.
  package var imageSize: Int
  package var patchSize: Int
  package var vocabularySize: Int
  package var textPositions: Int
  /// The token whose state stands for a text: the first of this id, or for `largestIdPools` that of the largest id.
  package var eosToken: Int32
  /// Of the space that images and texts share.
  package var projectionSize: Int
  package var initialLogitScale: Float
  package var initializerFactor: Double
  package var notes: [String] = []

  /// The id 2 stands in old files for "the largest id of the text" (`modeling_clip.py`).
  package var largestIdPools: Bool { eosToken == 2 }

  package let modelType = "clip"
  package var positionLimit: Int? { nil }
  package var bosToken: Int32? { nil }
  package var eosTokens: [Int32] { [] }

  /// Patches of a side; pixels that fill none are not seen.
  package var patchesPerSide: Int { imageSize / patchSize }
  package var patches: Int { patchesPerSide * patchesPerSide }
  /// The class token and those of the patches.
  package var tokensPerImage: Int { patches + 1 }
  /// Numbers of a patch.
  package var patchValues: Int { 3 * patchSize * patchSize }
}

/// Every linear layer of a CLIP layer, in the order in which the forward pass reaches it.
package enum CLIPLinearKind: String, CaseIterable, Sendable {
  case q = "self_attn.q_proj"
  case k = "self_attn.k_proj"
  case v = "self_attn.v_proj"
  case out = "self_attn.out_proj"
  case up = "mlp.fc1"
  case down = "mlp.fc2"
}

extension CLIPConfig.Tower {
  /// [out, in] of a layer's linear.
  package func shape(of kind: CLIPLinearKind) -> (out: Int, in: Int) {
    switch kind {
    case .q, .k, .v, .out: (hiddenSize, hiddenSize)
    case .up: (intermediateSize, hiddenSize)
    case .down: (hiddenSize, intermediateSize)
    }
  }

  /// Weights of all layers, in floats.
  fileprivate var layerParameters: Int {
    let linears = CLIPLinearKind.allCases.reduce(0) { sum, kind in
      let shape = shape(of: kind)
      return sum + shape.out * shape.in + shape.out
    }
    return layers * (linears + 4 * hiddenSize)
  }
}

extension CLIPConfig {
  static let visionPrefix = "vision_model"
  static let textPrefix = "text_model"
  static let tokenEmbeddingName = "text_model.embeddings.token_embedding.weight"

  /// The vision tower's alone: they are what is tuned, the text tower gives the head.
  package var linearModules: [(name: String, shape: [Int])] {
    (0..<vision.layers).flatMap { layer in
      CLIPLinearKind.allCases.map { kind in
        let shape = vision.shape(of: kind)
        return ("\(Self.visionPrefix).encoder.layers.\(layer).\(kind.rawValue)", [shape.out, shape.in])
      }
    }
  }

  package var embedding: (name: String, shape: [Int]) { (Self.tokenEmbeddingName, [vocabularySize, text.hiddenSize]) }
  package var headWeights: Int { projectionSize * vision.hiddenSize }

  package var parameterCount: Int {
    let (v, t) = (vision.hiddenSize, text.hiddenSize)
    return vision.layerParameters + text.layerParameters + v * (1 + patchValues + tokensPerImage + 4)
      + t * (vocabularySize + textPositions + 2) + projectionSize * (v + t) + 1
  }

  package mutating func settle(by folder: ModelFolder) {}

  /// Numbers of the positions, which old files hold.
  package func isSpare(_ tensor: String) -> Bool { tensor.hasSuffix("embeddings.position_ids") }

  /// As `CLIPPreTrainedModel._init_weights` draws them (`modeling_clip.py`).
  package func initialValues(of weight: String) -> InitialValues {
    if weight == "logit_scale" { return .constant(initialLogitScale) }
    if weight.hasSuffix(".bias") { return .constant(0) }
    if weight.contains("norm") { return .constant(1) }
    let tower = weight.hasPrefix(Self.textPrefix) ? text : vision
    func root(_ size: Int) -> Double { 1 / Double(size).squareRoot() }
    let deviation =
      switch weight {
      case "visual_projection.weight": root(vision.hiddenSize) * initializerFactor
      case "text_projection.weight": root(text.hiddenSize) * initializerFactor
      case let name where name.hasSuffix("class_embedding"): root(tower.hiddenSize) * tower.initializerFactor
      case let name where name.hasPrefix("\(Self.textPrefix).embeddings"): 0.02 * tower.initializerFactor
      case let name where name.contains(".embeddings."): tower.initializerRange * tower.initializerFactor
      case let name where name.hasSuffix("out_proj.weight"): root(tower.hiddenSize) * tower.initializerFactor
      case let name where name.hasSuffix("fc1.weight"): root(2 * tower.hiddenSize) * tower.initializerFactor
      default: root(tower.hiddenSize) * root(2 * tower.layers) * tower.initializerFactor
      }
    return .normal(deviation: deviation)
  }

  package func model(from source: any ParameterSource) throws(GoraError) -> any Model {
    try CLIPModel(config: self, from: source)
  }

  package var computation: String {
    func line(_ name: String, _ tower: Tower) -> String {
      "\(name) \(tower.hiddenSize) \(tower.intermediateSize) \(tower.layers) \(tower.heads) \(tower.epsilon) "
        + tower.activation.rawValue
    }
    return [
      line("vision", vision), line("text", text), "image \(imageSize) \(patchSize)",
      "vocabulary \(vocabularySize) \(textPositions) \(eosToken)", "projection \(projectionSize)",
    ].joined(separator: "\n")
  }
}
