import GoraCore
import GoraFormats

/// A family of models. A new one is a file beside this and a line in `ModelFamilies`; which `model_type`s are run, what `all-linear`
/// takes and what adapters' records say follow from it.
package protocol ModelFamily: SendableMetatype {
  /// Its spellings of `model_type`.
  static var types: [String] { get }
  /// PEFT's `task_type` of an adapter beside it; nil where it has none.
  static var taskType: String? { get }
  /// What the names of modules that may have an adapter begin with.
  static var blockNames: [String] { get }
  /// Reads config.json as Transformers' classes do, with their defaults; refuses what the family does not run, by name.
  static func config(reading root: JSONField) throws(GoraError) -> any ModelConfig
}

/// A family whose models are `Decoder`s, all that differs said by their configuration.
package protocol DecoderFamily: ModelFamily {
  static func decoder(reading root: JSONField) throws(GoraError) -> DecoderConfig
}

extension DecoderFamily {
  package static var taskType: String? { "CAUSAL_LM" }
  package static var blockNames: [String] { ["model.layers."] }
  package static func config(reading root: JSONField) throws(GoraError) -> any ModelConfig { try decoder(reading: root) }
}

/// What stages ask of a model.
package protocol Model: AnyObject {
  /// All weights, each once, in a fixed order.
  var parameters: [Parameter] { get }
  /// Those that learn where a new model is trained.
  var learnable: [Parameter] { get }
  /// The linears that may have an adapter, block by block in the order of forward: what `all-linear` takes.
  var blocks: [[Linear]] { get }
  /// The same linears, those that see the same inputs together.
  var linearsByInput: [[Linear]] { get }
  /// Whether a linear's inputs are of the tokens of an encoder, in an encoder-decoder model.
  func seesSource(_ linear: Linear) -> Bool
  /// Blocks keep only their input and run forward again in backward.
  var recomputesActivations: Bool { get set }
  /// Takes in what the adapters' factors are now; passes over whole rows do, generation goes by what they were last.
  func refreshAdapters()

  /// Sum of the losses of the batch's targets, without gradients.
  /// - Parameter each: told of each target's.
  func loss(_ batch: PackedBatch, each: ((Int, Double) -> Void)?) -> Double
  /// Adds the gradient of scale·Σ loss over the batch's targets to every parameter that learns; returns Σ loss.
  /// - Parameter finished: called with a block's index when its gradients are complete and its weights are not needed any more.
  func accumulateGradient(_ batch: PackedBatch, scale: Float, finished: ((Int) -> Void)?) -> Double

  /// Bytes that a training step keeps of one token in all blocks, without adapters.
  var activationBytesPerToken: Int { get }
  /// Bytes that `accumulateGradient` takes for activations and scratch.
  /// - Parameters:
  ///   - tokens: of the largest batch.
  ///   - labelled: most labelled tokens of a batch.
  ///   - lowest: the lowest block that learns.
  func activationBytes(tokens: Int, labelled: Int, lowest: Int, recomputes: Bool) -> Int
  /// Bytes that `loss` takes.
  func lossBytes(tokens: Int, labelled: Int) -> Int
  /// Bytes of mapped weights that are resident at a time.
  /// - Parameters:
  ///   - distinctTokens: token ids that the run embeds: of an embedding of its own only their rows are read, and the kernel maps
  ///     about 64 KiB around each.
  ///   - releases: whether blocks let their weights go, as all but generation do: then a block's, the projection's, and all that are
  ///     too small to let go.
  func mappedBytes(distinctTokens: Int, releases: Bool) -> Int
}

/// A model that continues texts.
package protocol GenerativeModel: Model {
  /// Logits a token.
  var vocabularySize: Int { get }
  /// What it caches of a token.
  var cachedWidth: KeyValueCache.Width { get }
  /// Whether keys and values are kept in bf16, as the products round to it.
  var roundsToBFloat16: Bool { get }
  /// Runs new tokens of cached rows; returns the logits [rows, vocabulary] after each row's last token.
  func next(_ step: CachedStep) -> UnsafeMutablePointer<Float>
  /// Bytes that a forward pass takes which keeps nothing.
  /// - Parameter rows: of logits at a time.
  func forwardBytes(tokens: Int, rows: Int) -> Int
}

/// A model that says how likely texts are after what a cache holds.
package protocol ScoringModel: GenerativeModel {
  /// Runs new tokens of cached rows; returns −log p(label) after each target's token, counted through the step's.
  func losses(_ step: CachedStep, targets: [(token: Int, label: Int32)]) -> [Double]
}

extension Model {
  package func seesSource(_ linear: Linear) -> Bool { false }
  /// All linears that may have an adapter, first block first.
  package var linears: [Linear] { blocks.flatMap { $0 } }

  package var learnable: [Parameter] { parameters }

  /// Quantises the weights that are to be, once, before anything is computed or attached: of a large model that takes minutes, so that
  /// what may be wrong with other inputs is better found before.
  package func quantize() throws(GoraError) { for parameter in parameters { try parameter.quantize() } }

  package func loss(_ batch: PackedBatch) -> Double { loss(batch, each: nil) }
  package func accumulateGradient(_ batch: PackedBatch, scale: Float) -> Double {
    accumulateGradient(batch, scale: scale, finished: nil)
  }
}
