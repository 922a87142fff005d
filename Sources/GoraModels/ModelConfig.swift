import GoraCore
import GoraFormats

/// What config.json says of a model, as far as it is asked whatever the family. A family has a configuration of its own.
package protocol ModelConfig: Sendable {
  var modelType: String { get }
  var vocabularySize: Int { get }
  /// Positions that the model was made for; nil where there is no such number.
  var positionLimit: Int? { get }
  var bosToken: Int32? { get }
  /// What the input of a decoder beside an encoder begins with, and the token that stands where nothing does; nil for a decoder alone.
  var decoderStart: (id: Int32, pad: Int32)? { get }
  var eosTokens: [Int32] { get }
  /// What config.json says that the model does not do, because Transformers' does not either.
  var notes: [String] { get }

  /// Module paths and shapes [out, in] of the linears that may have an adapter, counted from the configuration alone: the model's blocks
  /// in their order.
  var linearModules: [(name: String, shape: [Int])] { get }
  /// The table of token embeddings, whose type stands for the checkpoint's, and its shape.
  var embedding: (name: String, shape: [Int]) { get }
  /// Elements of the weight that labelled tokens alone pass at the end.
  var headWeights: Int { get }
  /// All weights, in floats.
  var parameterCount: Int { get }
  /// What decides the numbers that the weights give, spelled out.
  var computation: String { get }

  /// Takes over what Transformers decides by the weights.
  /// - Throws: `.data` where that is not done.
  mutating func settle(by folder: ModelFolder) throws(GoraError)
  /// Whether a checkpoint may have this tensor although it is no weight of the model: one that repeats another, or was never one.
  func isSpare(_ tensor: String) -> Bool
  /// What a weight of a new model begins with.
  func initialValues(of weight: String) -> InitialValues
  /// - Throws: `.data` where the source lacks a weight or has it in another shape.
  func model(from source: any ParameterSource) throws(GoraError) -> any Model
}

/// What a weight of a new model begins with.
package enum InitialValues: Sendable, Equatable {
  case constant(Float)
  /// N(0, deviation²).
  case normal(deviation: Double)
}

extension ModelConfig {
  package var decoderStart: (id: Int32, pad: Int32)? { nil }
  /// Elements of all linears that may have an adapter.
  package var linearWeights: Int { linearModules.reduce(0) { $0 + $1.shape[0] * $1.shape[1] } }
}
