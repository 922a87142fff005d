import GoraCore
import GoraMethods
import GoraModels

/// The principal components of what chosen linears see of the labelled tokens (EVA, arXiv 2410.07170, as PEFT's `lora/eva.py` has it), taken in
/// while the model runs.
///
/// A token counts where its own label is learnt, not where its successor's is; all tokens of an encoder count. Each batch that runs together is one part of the incremental
/// analysis; where it has fewer labelled tokens than components are wanted, they wait for the next one's.
package final class InputCollector {
  /// Linears that see the same inputs.
  package struct Group {
    package let linears: [Linear]
    package let analysis: IncrementalPCA
    /// Rows [·, in] that wait for more.
    fileprivate var waiting: [Float] = []
    /// Whether the batch at work is still to come: with recomputation it comes twice.
    fileprivate var isDue = false
  }

  /// A component that turned less than this cosine from part to part counts as settled: PEFT's τ.
  package static let settledSimilarity = 0.99

  package private(set) var groups: [Group] = []
  private let model: any Model
  private var labelled: [Int] = []
  /// Tokens of an encoder, all of which count.
  private var source: Range<Int> = 0..<0
  private var failure: GoraError?

  /// - Parameter components: k, for inputs narrower than that as many as they are wide.
  package init(model: any Model, targets: [Linear], components: Int, seed: UInt64) {
    self.model = model
    for sharing in model.linearsByInput {
      let linears = sharing.filter { linear in targets.contains { $0 === linear } }
      guard let first = linears.first else { continue }
      let index = groups.count
      groups.append(
        Group(
          linears: linears,
          analysis: IncrementalPCA(
            inputSize: first.inputSize, count: min(components, first.inputSize),
            random: Random(seed: seed, stream: "gora-grad/inputs/\(first.name)"))))
      first.inputObserver = { [unowned self] x in take(x, group: index) }
    }
  }

  deinit { for group in groups { group.linears[0].inputObserver = nil } }

  /// Says which batch runs next.
  func begin(_ batch: PackedBatch) {
    labelled = batch.labelled
    source = 0..<(batch.source?.ids.count ?? 0)
    for i in groups.indices { groups[i].isDue = true }
  }

  /// - Throws: status 65 where a decomposition of the batch's inputs failed.
  func check() throws(GoraError) { if let failure { throw failure } }

  /// Takes in what still waits.
  /// - Throws: status 65 where all labelled tokens together are fewer than the components.
  package func finish() throws(GoraError) {
    for i in groups.indices {
      let analysis = groups[i].analysis
      let waiting = groups[i].waiting
      groups[i].waiting = []
      guard analysis.samples > 0 else {
        throw Self.tooFew(labelled: waiting.count / analysis.inputSize, components: analysis.count)
      }
      try add(waiting, to: groups[i])
    }
  }

  /// Refuses rows that do not have a labelled token a component.
  package static func require(labelled: Int, components: Int, targets: [Linear]) throws(GoraError) {
    let most = min(components, targets.map(\.inputSize).max() ?? 0)
    if labelled < most { throw tooFew(labelled: labelled, components: most) }
  }

  private static func tooFew(labelled: Int, components: Int) -> GoraError {
    GoraError(
      .data, "\(labelled) labelled tokens in all micro-batches, too few for \(components) components of the inputs",
      hint: "take more rows, or fewer --input-components")
  }

  private func take(_ x: UnsafePointer<Float>, group index: Int) {
    guard groups[index].isDue, failure == nil else { return }
    groups[index].isDue = false
    let analysis = groups[index].analysis
    let width = analysis.inputSize
    var rows = groups[index].waiting
    groups[index].waiting = []
    let tokens = model.seesSource(groups[index].linears[0]) ? Array(source) : labelled
    rows.reserveCapacity(rows.count + tokens.count * width)
    for token in tokens { rows.append(contentsOf: UnsafeBufferPointer(start: x + token * width, count: width)) }
    guard rows.count >= analysis.count * width else {
      groups[index].waiting = rows
      return
    }
    do throws(GoraError) { try add(rows, to: groups[index]) } catch { failure = error }
  }

  private func add(_ rows: [Float], to group: Group) throws(GoraError) {
    do throws(GoraError) { try group.analysis.add(rows) } catch {
      var error = error
      error.problem = "the inputs of \"\(group.linears[0].name)\": \(error.problem)"
      throw error
    }
  }

  /// Bytes that the analyses hold, and one of them takes while it runs.
  /// - Parameter labelled: most labelled tokens of a batch.
  package static func bytes(model: any Model, targets: [Linear], components: Int, labelled: Int) -> Int {
    var (held, most) = (0, 0)
    for sharing in model.linearsByInput {
      guard let first = sharing.first(where: { linear in targets.contains { $0 === linear } }) else { continue }
      let width = first.inputSize
      let count = min(components, width)
      // Components and rows that wait, the mean in double.
      held += 4 * 2 * count * width + 8 * width
      // The rows, the matrix of them, and the subspaces of its decomposition.
      let rows = labelled + count
      let height = rows + count + 1
      most = max(most, 4 * (rows * width + height * width + 4 * (count + 16) * (height + width)))
    }
    return held + most
  }
}
