import GoraModels

/// In which order a backward pass is done with the gradients of parameters, all of them one after the other: the last block's first, those of no
/// block at the end. They go to the processes that sum them in windows, each as soon as its last gradient is there.
struct GradientOrder {
  let parameters: [Parameter]
  /// By block: floats that are there once it is done.
  let done: [Int]
  let windows: [Range<Int>]

  /// - Parameter blocks: their linears, first block first.
  init(_ parameters: [Parameter], blocks: [[Linear]]) {
    var blockOf: [ObjectIdentifier: Int] = [:]
    for (index, linears) in blocks.enumerated() {
      for linear in linears {
        let own = [linear.weight] + (linear.bias.map { [$0] } ?? []) + (linear.adapter?.parameters ?? [])
        for parameter in own { blockOf[ObjectIdentifier(parameter)] = index }
      }
    }
    var ofBlock = [[Parameter]](repeating: [], count: blocks.count)
    var rest: [Parameter] = []
    for parameter in parameters {
      if let block = blockOf[ObjectIdentifier(parameter)] { ofBlock[block].append(parameter) } else { rest.append(parameter) }
    }
    self.parameters = ofBlock.reversed().flatMap { $0 } + rest
    let counts = ofBlock.map { $0.reduce(0) { $0 + $1.count } }
    var (done, sum) = (counts, 0)
    for block in blocks.indices.reversed() {
      sum += counts[block]
      done[block] = sum
    }
    self.done = done
    windows = Self.windows(blocks: counts.reversed(), rest: rest.reduce(0) { $0 + $1.count })
  }

  /// Floats of all parameters.
  var floats: Int { windows.last?.upperBound ?? 0 }

  /// Floats of a window at least, where blocks are small: less is not worth a message of its own.
  static let least = 1 << 18
  /// Floats of a window of what belongs to no block at most, where blocks are smaller.
  static let most = 1 << 21

  /// Whole blocks, as few as there can be of `least` floats or more; then the rest, in even parts no larger than the largest of these, or
  /// `most`.
  static func windows(blocks: [Int], rest: Int) -> [Range<Int>] {
    var windows: [Range<Int>] = []
    var (start, end) = (0, 0)
    for count in blocks {
      end += count
      if end - start >= least {
        windows.append(start..<end)
        start = end
      }
    }
    let limit = max(most, windows.map(\.count).max() ?? 0)
    let last = end - start + rest
    let parts = (last + limit - 1) / limit
    for part in 0..<parts { windows.append(start + last * part / parts..<start + last * (part + 1) / parts) }
    return windows
  }
}
