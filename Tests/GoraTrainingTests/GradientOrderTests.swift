import GoraCore
import GoraModels
import GoraText
import Testing

@testable import GoraTraining

/// Which gradients go to other processes while the backward pass goes on. That sums of them are those of one process is tried by `Tests/mpi/run`.
@Suite struct GradientOrderTests {
  init() { ThreadPool.start(threads: 2) }

  /// When a block is done, all that the order says to be there is as the whole pass leaves it, and what comes after is not there yet.
  @Test(arguments: ["llama", "qwen2"], [false, true]) func blocksDone(_ name: String, trainsWeights: Bool) throws {
    let model = trainsWeights ? try Fixtures.model(name) : try Fixtures.adapted(name).model
    let trained = trainsWeights ? model.learnable : model.adapterParameters(ratio: 1).map(\.parameter)
    for parameter in trained {
      if trainsWeights { parameter.makeTrainable() } else { parameter.gradient = FloatBuffer(zeros: parameter.count) }
    }
    let order = GradientOrder(trained, blocks: model.blocks)
    #expect(Set(order.parameters.map(\.name)) == Set(trained.map(\.name)) && order.parameters.count == trained.count)
    func gradients() -> [Float] { order.parameters.flatMap { $0.gradient?.array ?? [] } }
    let batch = microBatches(try Fixtures.rows(name), maxTokens: 8192)[0]
    var seen: [(block: Int, gradients: [Float])] = []
    _ = model.accumulateGradient(batch, scale: 1) { seen.append(($0, gradients())) }
    let whole = gradients()
    #expect(seen.map(\.block) == model.blocks.indices.reversed() && whole.count == order.floats)
    for (block, gradients) in seen {
      let done = order.done[block]
      #expect(gradients[..<done] == whole[..<done], "block \(block)")
      if block > 0 { #expect(gradients[done..<order.done[block - 1]].allSatisfy { $0 == 0 }, "block \(block)") }
    }
    // Norms and embeddings are of no block's linears.
    #expect((order.done[0] < order.floats) == trainsWeights)
  }

  /// Windows are all floats, end where blocks do, and are neither small nor, for what is no block's, larger than need be.
  @Test func windows() {
    for trial in 0..<50 {
      let blocks = OrderedSumTests.random("windows/\(trial)", count: 12, most: trial % 2 == 0 ? 100_000 : 3_000_000)
      let rest = trial % 3 == 0 ? 0 : 40_000 * trial * trial
      let windows = GradientOrder.windows(blocks: blocks, rest: rest)
      var (next, ends) = (0, [Int]())
      for count in blocks { ends.append((ends.last ?? 0) + count) }
      for window in windows {
        #expect(window.lowerBound == next && !window.isEmpty)
        next = window.upperBound
      }
      #expect(next == blocks.reduce(0, +) + rest)
      let ofBlocks = windows.prefix { ends.contains($0.upperBound) && $0.count >= GradientOrder.least }
      let largest = max(GradientOrder.most, ofBlocks.map(\.count).max() ?? 0)
      #expect(windows.allSatisfy { $0.count <= largest })
      for window in ofBlocks {
        // Without its last block it would be too small.
        let before = ends.last { $0 < window.upperBound } ?? 0
        #expect(before - window.lowerBound < GradientOrder.least)
      }
      let left = windows.dropFirst(ofBlocks.count)
      if left.count > 1 { #expect(left.reduce(0) { $0 + $1.count } > (left.count - 1) * largest) }
    }
    #expect(GradientOrder.windows(blocks: [], rest: 0).isEmpty && GradientOrder.windows(blocks: [0, 0], rest: 5) == [0..<5])
  }
}
