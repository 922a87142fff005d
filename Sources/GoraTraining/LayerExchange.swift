import GoraCore
import GoraModels

/// Gradients of the layers' weights on their way to the processes that sum them: a layer's go out as soon as it is done, and are under way
/// while the next one computes.
///
/// Layers use two sets of buffers in turn. All processes have their layers done in the same order, last block first.
final class LayerExchange {
  private let targets: [Linear]
  private let layers: [[Int]]
  private let shares: [RowShares]
  /// A target's own gradient of a piece.
  let gradients: [FloatBuffer]
  /// Which of the two sets a layer uses.
  private var sets: [Int]
  /// By set and process: what it sent of the rows that are summed here, weight after weight.
  private let incoming: [[FloatBuffer]]
  private let messages = [ProcessGroup.Messages(), ProcessGroup.Messages()]
  private var begun: [(layer: Int, running: Int)] = []

  init(targets: [Linear], layers: [[Int]], shares: [RowShares]) {
    self.targets = targets
    self.layers = layers
    self.shares = shares
    sets = [Int](repeating: 0, count: layers.count)
    var members: [[Int]] = [[], []]
    for (place, layer) in layers.indices.reversed().filter({ !layers[$0].isEmpty }).enumerated() {
      sets[layer] = place % 2
      members[place % 2].append(layer)
    }
    var gradients = [FloatBuffer?](repeating: nil, count: targets.count)
    var incoming: [[FloatBuffer]] = []
    for set in members {
      let used = set.map { layers[$0] }
      for (index, buffer) in sharedBuffers(used, counts: targets.map(\.weight.count)) { gradients[index] = buffer }
      let most = used.map { layer in
        layer.reduce(0) { $0 + shares[$1].rows(of: ProcessGroup.rank).count * targets[$1].inputSize }
      }.max()
      incoming.append((0..<ProcessGroup.size).map { FloatBuffer(capacity: $0 == ProcessGroup.rank ? 0 : most ?? 0) })
    }
    self.gradients = gradients.compactMap { $0 }
    self.incoming = incoming
  }

  /// Sends a layer's gradients, where this process is one of those that run a piece, and waits for none.
  /// - Parameter running: processes that do, the first ones.
  func begin(_ layer: Int, running: Int) {
    let (set, rank) = (sets[layer], ProcessGroup.rank)
    var place = 0
    for index in layers[layer] {
      let columns = targets[index].inputSize
      let own = shares[index].rows(of: rank).count * columns
      for other in 0..<ProcessGroup.size where other != rank {
        if rank < running {
          let rows = shares[index].rows(of: other)
          messages[set].send(
            gradients[index].pointer + rows.lowerBound * columns, bytes: 4 * rows.count * columns, to: other, tag: 1 + index)
        }
        if other < running {
          messages[set].receive(incoming[set][other].pointer + place, bytes: 4 * own, from: other, tag: 1 + index)
        }
      }
      place += own
    }
    begun.append((layer, running))
  }

  /// Waits for the layer begun first, if there are as many as `open`, and has its gradients taken in the order of the processes.
  /// - Parameter take: the gradient of the rows that are summed here, of a target and a process.
  func end(open: Int, _ take: (_ index: Int, _ process: Int, _ gradient: UnsafePointer<Float>) -> Void) {
    guard begun.count >= open else { return }
    let (layer, running) = begun.removeFirst()
    let set = sets[layer]
    messages[set].wait()
    var place = 0
    for index in layers[layer] {
      let columns = targets[index].inputSize
      let rows = shares[index].rows(of: ProcessGroup.rank)
      for process in 0..<running {
        take(
          index, process,
          process == ProcessGroup.rank
            ? gradients[index].pointer + rows.lowerBound * columns : incoming[set][process].pointer + place)
      }
      place += rows.count * columns
    }
  }
}

/// Buffers that layers use one after the other: a buffer for each of their weights.
/// - Parameter counts: floats of each weight.
func sharedBuffers(_ layers: [[Int]], counts: [Int]) -> [(index: Int, buffer: FloatBuffer)] {
  let pool = (0..<(layers.map(\.count).max() ?? 0)).map { place in
    FloatBuffer(capacity: layers.map { $0.count > place ? counts[$0[place]] : 0 }.max() ?? 0)
  }
  return layers.flatMap { layer in layer.enumerated().map { (index: $1, buffer: pool[$0]) } }
}
