import GoraCore
import GoraMethods
import GoraModels

/// The principal components of what chosen linears see of the labelled tokens (EVA, arXiv 2410.07170, as PEFT's `lora/eva.py` has it), taken in
/// while the model runs.
///
/// A token counts where its own label is learnt, not where its successor's is; all tokens of an encoder count. Each batch that runs together is one part of the incremental
/// analysis; where it has fewer labelled tokens than components are wanted, they wait for the next one's.
///
/// Several processes share the analyses: each hands the others what its batches have shown of theirs, and takes its own in in the order of the
/// batches.
package final class InputCollector {
  /// Linears that see the same inputs.
  package struct Group {
    package let linears: [Linear]
    /// Used by its owner alone.
    package let analysis: IncrementalPCA
    fileprivate let owner: Int
    fileprivate var isOwn: Bool { owner == ProcessGroup.rank }
    /// Rows [·, in] that wait for more.
    fileprivate var waiting: [Float] = []
    /// Whether the batch at work is still to come: with recomputation it comes twice.
    fileprivate var isDue = false
    /// What the batch at work has shown, for its owner, where there are several processes.
    fileprivate var seen = FloatBuffer()
  }

  /// What has been found of a group's inputs.
  package struct Findings {
    package let linears: [Linear]
    package let inputSize: Int
    /// [k, in], as `IncrementalPCA` has them.
    package let components: [Float]
    package let ratios: [Double]
    package let similarity: [Double]
    package let samples: Int
  }

  /// A component that turned less than this cosine from part to part counts as settled: PEFT's τ.
  package static let settledSimilarity = 0.99

  package private(set) var groups: [Group] = []
  private let model: any Model
  /// The one at work.
  private var batch: PackedBatch?
  private var failure: GoraError?

  /// - Parameter components: k, for inputs narrower than that as many as they are wide.
  package init(model: any Model, targets: [Linear], components: Int, seed: UInt64) {
    self.model = model
    let sharings = Self.sharings(model, targets)
    for (index, (linears, owner)) in zip(sharings.linears, sharings.owners).enumerated() {
      let first = linears[0]
      groups.append(
        Group(
          linears: linears,
          analysis: IncrementalPCA(
            inputSize: first.inputSize, count: min(components, first.inputSize),
            random: Random(seed: seed, stream: "gora-grad/inputs/\(first.name)")),
          owner: owner))
      first.inputObserver = { [unowned self] x in take(x, group: index) }
    }
  }

  /// The targets that see the same inputs, and who analyses these.
  private static func sharings(_ model: any Model, _ targets: [Linear]) -> (linears: [[Linear]], owners: [Int]) {
    let linears = model.linearsByInput.map { $0.filter { linear in targets.contains { $0 === linear } } }.filter { !$0.isEmpty }
    return (linears, WorkShares(costs: linears.map { $0[0].inputSize }).owners)
  }

  deinit { for group in groups { group.linears[0].inputObserver = nil } }

  /// Says which batch runs next.
  func begin(_ batch: PackedBatch) {
    self.batch = batch
    for i in groups.indices { groups[i].isDue = true }
  }

  /// - Throws: status 65 where a decomposition of the batch's inputs failed.
  func check() throws(GoraError) { if let failure { throw failure } }

  /// Hands on what batches that ran at the same time have shown, the first on the first process, and takes in what is analysed here.
  func end(_ round: [PackedBatch]) {
    if ProcessGroup.isAlone { return }
    let rank = ProcessGroup.rank
    let messages = ProcessGroup.Messages()
    var others: [Int: [FloatBuffer]] = [:]
    for index in groups.indices {
      let group = groups[index]
      let width = group.analysis.inputSize
      let counts = round.map { tokens(of: $0, group).count * width }
      if group.isOwn {
        others[index] = round.indices.map { process in
          if process == rank { return group.seen }
          let buffer = FloatBuffer(capacity: counts[process])
          messages.receive(buffer.pointer, bytes: 4 * counts[process], from: process)
          return buffer
        }
      } else if rank < round.count {
        messages.send(group.seen.pointer, bytes: 4 * counts[rank], to: group.owner)
      }
    }
    messages.wait()
    for index in groups.indices {
      groups[index].seen = FloatBuffer()
      guard let parts = others.removeValue(forKey: index) else { continue }
      for (batch, part) in zip(round, parts) {
        let count = tokens(of: batch, groups[index]).count * groups[index].analysis.inputSize
        groups[index].waiting.append(contentsOf: UnsafeBufferPointer(start: part.pointer, count: count))
        settle(index)
      }
    }
  }

  /// Takes in what still waits.
  /// - Throws: status 65 where all labelled tokens together are fewer than the components.
  package func finish() throws(GoraError) {
    for i in groups.indices where groups[i].isOwn {
      let analysis = groups[i].analysis
      let waiting = groups[i].waiting
      groups[i].waiting = []
      guard analysis.samples > 0 else {
        throw Self.tooFew(labelled: waiting.count / analysis.inputSize, components: analysis.count)
      }
      try add(waiting, to: groups[i])
    }
  }

  /// What has been found of a group's inputs, on the first process; nil on the others. For after `finish`, and for all processes.
  package func findings(_ index: Int) -> Findings? {
    let group = groups[index]
    let analysis = group.analysis
    let (k, width) = (analysis.count, analysis.inputSize)
    var components = group.isOwn ? analysis.components : [Float](repeating: 0, count: k * width)
    var numbers =
      group.isOwn
      ? analysis.explainedVarianceRatio + analysis.similarity + [Double(analysis.samples)]
      : [Double](repeating: 0, count: 2 * k + 1)
    if group.owner != 0, group.isOwn || ProcessGroup.isFirst {
      let messages = ProcessGroup.Messages()
      components.withUnsafeMutableBytes { components in
        numbers.withUnsafeMutableBytes { numbers in
          for bytes in [components, numbers] {
            guard let start = bytes.baseAddress else { continue }
            if ProcessGroup.isFirst {
              messages.receive(start, bytes: bytes.count, from: group.owner)
            } else {
              messages.send(start, bytes: bytes.count, to: 0)
            }
          }
          messages.wait()
        }
      }
    }
    guard ProcessGroup.isFirst else { return nil }
    return Findings(
      linears: group.linears, inputSize: width, components: components, ratios: Array(numbers[..<k]),
      similarity: Array(numbers[k..<2 * k]), samples: Int(numbers[2 * k]))
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
    let width = groups[index].analysis.inputSize
    let tokens = tokens(of: batch, groups[index])
    guard ProcessGroup.isAlone else {
      let seen = FloatBuffer(capacity: tokens.count * width)
      for (row, token) in tokens.enumerated() { (seen.pointer + row * width).update(from: x + token * width, count: width) }
      groups[index].seen = seen
      return
    }
    groups[index].waiting.reserveCapacity(groups[index].waiting.count + tokens.count * width)
    for token in tokens {
      groups[index].waiting.append(contentsOf: UnsafeBufferPointer(start: x + token * width, count: width))
    }
    settle(index)
  }

  /// The tokens of a batch that count for a group.
  private func tokens(of batch: PackedBatch?, _ group: Group) -> [Int] {
    guard let batch else { return [] }
    return model.seesSource(group.linears[0]) ? Array(0..<(batch.source?.ids.count ?? 0)) : batch.labelled
  }

  /// Takes in what waits, if that is enough.
  private func settle(_ index: Int) {
    let analysis = groups[index].analysis
    guard failure == nil, groups[index].waiting.count >= analysis.count * analysis.inputSize else { return }
    let rows = groups[index].waiting
    groups[index].waiting = []
    do throws(GoraError) { try add(rows, to: groups[index]) } catch { failure = error }
  }

  private func add(_ rows: [Float], to group: Group) throws(GoraError) {
    do throws(GoraError) { try group.analysis.add(rows) } catch {
      var error = error
      error.problem = "the inputs of \"\(group.linears[0].name)\": \(error.problem)"
      throw error
    }
  }

  /// Bytes that this process's analyses hold, one of them takes while it runs, and others' inputs take on their way.
  /// - Parameter labelled: most labelled tokens of a batch.
  package static func bytes(model: any Model, targets: [Linear], components: Int, labelled: Int) -> Int {
    var (held, most, moving) = (0, 0, 0)
    let sharings = sharings(model, targets)
    for (linears, owner) in zip(sharings.linears, sharings.owners) {
      let width = linears[0].inputSize
      if !ProcessGroup.isAlone { moving += 4 * labelled * width * (owner == ProcessGroup.rank ? ProcessGroup.size : 1) }
      guard owner == ProcessGroup.rank else { continue }
      let count = min(components, width)
      // Components and rows that wait, the mean in double.
      held += 4 * 2 * count * width + 8 * width
      // The rows, the matrix of them, and the subspaces of its decomposition.
      let rows = labelled + count
      let height = rows + count + 1
      most = max(most, 4 * (rows * width + height * width + 4 * (count + 16) * (height + width)))
    }
    return held + most + moving
  }
}
