/// Multiplications and additions that a row of the tables needs, counted as two each.
///
/// Only what the result depends on is counted: nothing below the lowest target weight, the vocabulary projection on labelled
/// tokens alone, causal attention as a triangle. Work that a program repeats to save memory is its own loss.
struct Operations: Equatable {
  /// Products with weights.
  var linear = 0.0
  /// Products of attention.
  var attention = 0.0

  var total: Double { linear + attention }

  /// Tokens of one sequence, and those of them that have a label to learn.
  struct Sequence: Equatable {
    var tokens: Int
    var labelled: Int
  }

  /// One step of gora-grad for q, k, v and o of every layer.
  static func gradients(_ model: ModelPreset, _ batch: [Sequence]) -> Operations {
    var count = forwardAndInputGradients(model, batch)
    let targets = model.linears[..<4].reduce(0) { $0 + $1.out * $1.in }
    // The weights' own gradients.
    count.linear += 2 * tokens(batch) * Double(model.layers * targets)
    return count
  }

  /// One step of gora-train for adapters of `rank` on q, k, v and o of every layer.
  static func adapterTraining(_ model: ModelPreset, _ batch: [Sequence], rank: Int) -> Operations {
    var count = forwardAndInputGradients(model, batch)
    let sizes = model.linears[..<4].reduce(0) { $0 + $1.out + $1.in }
    let lowestInputs = model.linears[..<3].reduce(0) { $0 + $1.in }
    // xAᵀ and (xAᵀ)Bᵀ; the gradients of A and B; that of x, which q, k and v of the lowest layer do not pass on.
    count.linear += 2 * tokens(batch) * Double(rank * (3 * model.layers * sizes - lowestInputs))
    return count
  }

  /// Continuing `prompts` of `length` tokens by `new` each, greedily, with a cache.
  static func generation(_ model: ModelPreset, prompts: Int, length: Int, new: Int) -> Operations {
    let weights = Double(model.layers * model.linears.reduce(0) { $0 + $1.out * $1.in })
    let seen = length + new - 1
    var count = Operations()
    count.linear = 2 * Double(prompts) * (Double(seen) * weights + Double(new * model.vocabularySize * model.hiddenSize))
    count.attention = 4 * Double(prompts * model.layers * model.hiddenSize) * triangle(seen)
    return count
  }

  private static func forwardAndInputGradients(_ model: ModelPreset, _ batch: [Sequence]) -> Operations {
    let layer = model.linears.reduce(0) { $0 + $1.out * $1.in }
    let projection = model.vocabularySize * model.hiddenSize
    // q, k and v of the lowest layer have nothing below them that learns.
    let lowest = model.linears[..<3].reduce(0) { $0 + $1.out * $1.in }
    let labelled = Double(batch.reduce(0) { $0 + $1.labelled })
    var count = Operations()
    count.linear = 2 * tokens(batch) * Double(2 * model.layers * layer - lowest) + 4 * labelled * Double(projection)
    // Forward QKᵀ and PV; backward the gradients of V, P, Q and K.
    count.attention = batch.reduce(0) { $0 + 12 * Double(model.layers * model.hiddenSize) * triangle($1.tokens) }
    return count
  }

  private static func tokens(_ batch: [Sequence]) -> Double { Double(batch.reduce(0) { $0 + $1.tokens }) }

  /// Pairs of a token and one that it sees.
  private static func triangle(_ tokens: Int) -> Double { Double(tokens) * Double(tokens + 1) / 2 }
}
