import CGoraKernels
import GoraCore

/// What every family counts alike.
extension Model {
  /// Floats a token that the adapter at work takes: dy·B, inputs that are left, scaled dy.
  var adapterScratchWidth: Int {
    let adapters = linears.compactMap(\.adapter)
    let low = adapters.map(\.rank).max() ?? 0
    let dropped = adapters.filter { $0.dropoutRate > 0 }.map { $0.a.shape[1] }.max() ?? 0
    let scaled = adapters.filter { $0.outputScale != nil }.map { $0.b.shape[0] }.max() ?? 0
    return low + dropped + scaled
  }

  /// Floats of attention's tiles a thread, and of what products pack, widen and round.
  /// - Parameters:
  ///   - headSize: of attention.
  ///   - last: of the head, beside the linears.
  ///   - rounded: of the largest operand, which is rounded to bf16 where the weights say so.
  func productScratchFloats(headSize: Int, last: WeightMatrix, rounded: Int) -> Int {
    let threads = ThreadPool.threads
    let matrices = linears.map(\.weight.matrix) + [last]
    let tiles = Matmul.hasTiles && matrices.contains(where: \.roundsInputs) ? gora_bf16_tiles_scratch_floats() : 0
    return threads * (gora_attention_scratch_floats(Int64(headSize)) + tiles)
      + (matrices.map { $0.scratchCount(threads: threads) }.max() ?? 0)
      + (matrices.contains(where: \.roundsInputs) ? rounded : 0)
  }

  /// Bytes of these mapped weights that are resident at a time, of the blocks' those of one where blocks let them go.
  func residentBytes(of parameters: [Parameter], releases: Bool) -> Int {
    let all = parameters.reduce(0) { $0 + $1.mappedBytes }
    if !releases { return all }
    let ofBlocks = blocks.map { block in block.reduce(0) { $0 + $1.weight.releasableBytes } }
    return all + (ofBlocks.max() ?? 0) - ofBlocks.reduce(0, +)
  }
}
