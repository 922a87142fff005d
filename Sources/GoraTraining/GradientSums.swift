import CGoraKernels
import GoraCore
import GoraModels

/// The gradients of chosen parameters over a batch, each the sum of its pieces' in the order of the pieces, ((g₀ + g₁) + g₂) + …, in f32:
/// the same bits for any number of processes.
///
/// Piece k runs on process k mod P, P of them at a time. Every process adds up a slice of the gradients, which the others send while their
/// backward pass goes on, and in the end has all of them.
package struct GradientSums {
  package let parameters: [Parameter]
  /// What the pieces so far come to, of the slices that are summed here.
  private let earlier = FloatBuffer()
  private let order: GradientOrder
  private let exchange: SliceExchange?

  /// Gives every parameter that has none a zeroed f32 sum.
  /// - Parameter blocks: the model's linears, in the order of forward.
  package init(of parameters: [Parameter], blocks: [[Linear]]) {
    self.parameters = parameters
    for parameter in parameters where parameter.gradient == nil { parameter.gradient = FloatBuffer(zeros: parameter.count) }
    order = GradientOrder(parameters, blocks: blocks)
    exchange = ProcessGroup.isAlone ? nil : SliceExchange(windows: order.windows)
  }

  /// Floats that summing takes besides the gradients.
  /// - Parameter pieces: most pieces of a batch.
  package static func scratchFloats(of parameters: [Parameter], blocks: [[Linear]], pieces: Int) -> Int {
    let order = GradientOrder(parameters, blocks: blocks)
    return ProcessGroup.isAlone ? (pieces > 1 ? order.floats : 0) : SliceExchange.bufferFloats(order.windows)
  }

  /// Puts the sums of a batch's pieces into the parameters' gradients.
  /// - Parameter piece: adds a piece's gradient to the parameters', which are 0 before, and tells of the blocks that are done; returns its loss.
  /// - Returns: the losses, in order.
  package func sum(pieces: Int, _ piece: (_ index: Int, _ finished: @escaping (_ block: Int) -> Void) -> Double)
    -> [Double]
  {
    if let exchange { return sum(pieces: pieces, exchange, piece) }
    var losses: [Double] = []
    for index in 0..<pieces {
      if index > 0 { add(isFirst: index == 1) }
      zero()
      losses.append(piece(index) { _ in })
    }
    if pieces > 1 {
      eachGradient { gradient, count, place in Elementwise.add(earlier.pointer + place, to: gradient, count: count) }
    }
    return losses
  }

  /// Adds the gradients to what was before, or begins with them.
  private func add(isFirst: Bool) {
    if isFirst { earlier.reserve(parameters.reduce(0) { $0 + $1.count }) }
    eachGradient { gradient, count, place in
      if isFirst {
        (earlier.pointer + place).update(from: gradient, count: count)
      } else {
        Elementwise.add(gradient, to: earlier.pointer + place, count: count)
      }
    }
  }

  private func sum(pieces: Int, _ exchange: SliceExchange, _ piece: (Int, @escaping (Int) -> Void) -> Double) -> [Double] {
    var losses: [Double] = []
    for first in stride(from: 0, to: pieces, by: ProcessGroup.size) {
      let running = min(ProcessGroup.size, pieces - first)
      var loss = 0.0
      exchange.begin(running: running, isFirst: first == 0)
      if ProcessGroup.rank < running {
        zero()
        loss = piece(first + ProcessGroup.rank) { exchange.send(until: order.done[$0], read: copy) }
      }
      exchange.send(until: order.floats, read: copy)
      exchange.end()
      losses += ProcessGroup.allGather(loss).prefix(running)
    }
    exchange.spread { start, range in
      within(range) { gradient, offset, count in gradient.update(from: start + offset, count: count) }
    }
    return losses
  }

  /// Floats `range` of all gradients, in `order`.
  private func copy(_ range: Range<Int>, into out: UnsafeMutablePointer<Float>) {
    within(range) { gradient, offset, count in (out + offset).update(from: gradient, count: count) }
  }

  /// The parts of gradients that lie in `range` of all of them, in `order`.
  private func within(_ range: Range<Int>, _ body: (UnsafeMutablePointer<Float>, _ offset: Int, _ count: Int) -> Void) {
    eachGradient { gradient, count, place in
      let (from, to) = (max(range.lowerBound, place), min(range.upperBound, place + count))
      if from < to { body(gradient + (from - place), from - range.lowerBound, to - from) }
    }
  }

  private func eachGradient(_ body: (UnsafeMutablePointer<Float>, _ count: Int, _ place: Int) -> Void) {
    var place = 0
    for parameter in order.parameters {
      if let gradient = parameter.gradient { body(gradient.pointer, parameter.count, place) }
      place += parameter.count
    }
  }

  package func zero() {
    for parameter in parameters { parameter.gradient?.zero() }
  }

  /// ‖g‖₂ over all sums; NaN or infinite where any gradient is.
  package func norm() -> Double {
    var total = 0.0
    for parameter in parameters {
      guard let gradient = parameter.gradient else { continue }
      total += gora_sum_squares(gradient.pointer, gradient.count)
    }
    return total.squareRoot()
  }
}
