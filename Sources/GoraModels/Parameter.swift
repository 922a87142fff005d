import CGoraKernels
import GoraCore
import GoraFormats

/// In which precision the products with frozen weights run.
package enum Precision: String, Sendable, CaseIterable {
  case f32
  /// Weights and the operand beside them in bf16, sums in f32.
  case bf16
}

/// How the frozen weights of a model's linears are held.
package enum Quantization: String, Sendable, CaseIterable {
  /// 4-bit NormalFloat with doubly quantised scales.
  case nf4
}

/// One weight of a model: mapped and frozen, quantised and frozen, or owned in f32 and trained.
package final class Parameter {
  package let name: String
  package let shape: [Int]
  /// The weight as a matrix; a vector is one row.
  package private(set) var matrix: WeightMatrix
  /// Keeps what `matrix` points into alive.
  private var owner: AnyObject?
  /// The bytes of the checkpoint's mapping that `matrix` lies in, if it does.
  private var mapped: UnsafeRawBufferPointer?
  /// The checkpoint's own numbers, where `matrix` has them rounded.
  private var unrounded: TensorView?
  /// Owned values, once there are any.
  package private(set) var values: FloatBuffer?
  /// Where the gradient is summed, when someone asked for it.
  package var gradient: FloatBuffer?
  /// Whether the next product writes over what is in `gradient` instead of adding to it: for a linear's weight, set before a pass.
  package var gradientIsStale = false
  /// Called when a pass has done its part of `gradient` and needs neither that nor the weight any more: for a linear's weight.
  package var gradientIsDone: (() -> Void)?

  /// What `quantize` makes NF4, until then.
  private var unquantized: (tensor: TensorView, precision: Precision)?

  /// What a working copy stands for, while there is one.
  private var original: (matrix: WeightMatrix, values: FloatBuffer?)?

  package var count: Int { shape.reduce(1, *) }
  /// Whether products with the weight, not with its working copy, round their other operand to bf16.
  var roundsInputs: Bool { (original?.matrix ?? matrix).roundsInputs }

  /// Bytes of the checkpoint's mapping that products with this weight read; 0 where it is held in memory of our own.
  package var mappedBytes: Int { values == nil ? mapped?.count ?? 0 : 0 }

  /// Mapped weights below this size are not worth a system call.
  private static let smallestReleased = 1 << 20

  /// Bytes that `releasePages` takes out of the process.
  var releasableBytes: Int { mappedBytes < Self.smallestReleased ? 0 : mappedBytes }

  /// Takes a large mapped weight out of this process, until it is used again.
  package func releasePages() {
    if releasableBytes > 0, let mapped { MappedFile.releasePages(of: mapped) }
  }

  /// Owned values.
  package init(name: String, shape: [Int], values: FloatBuffer) {
    self.name = name
    self.shape = shape
    self.values = values
    matrix = Self.matrix(.f32(UnsafePointer(values.pointer)), shape, rounds: false)
  }

  /// A tensor of a checkpoint, used where it lies, quantised blocks too; vectors, and what is no F32, F16 or BF16 otherwise, are
  /// widened, and matrices in F32 and F16 copied for products in bf16. What lies at an odd address, or with its rows in another order,
  /// is copied as it is.
  package init(_ tensor: TensorView, precision: Precision) throws(GoraError) {
    name = tensor.name
    shape = tensor.shape
    let rounds = precision == .bf16
    let isMatrix = tensor.shape.count == 2
    guard let start = tensor.bytes.baseAddress, isMatrix, tensor.dtype.isQuantised || [.f32, .f16, .bf16].contains(tensor.dtype)
    else {
      let values = FloatBuffer(try tensor.toFloat())
      self.values = values
      matrix = Self.matrix(.f32(UnsafePointer(values.pointer)), shape, rounds: false)
      return
    }
    var base = start
    owner = tensor.file
    mapped = tensor.bytes
    if tensor.dtype.isQuantised {
      if rounds { unrounded = tensor }
      let blocks = BlockWeight(tensor.dtype, start, columns: shape[1], rowOrder: tensor.rowOrder)
      matrix = Self.matrix(.blocks(blocks), shape, rounds: rounds)
      return
    }
    if !tensor.isAligned || tensor.rowOrder != nil {
      let copy = FloatBuffer(capacity: (tensor.bytes.count + 3) / 4)
      tensor.copy(into: UnsafeMutableRawPointer(copy.pointer))
      base = UnsafeRawPointer(copy.pointer)
      (owner, mapped) = (copy, nil)
    }
    let storage: WeightMatrix.Storage =
      switch tensor.dtype {
      case .f32: .f32(base.assumingMemoryBound(to: Float.self))
      case .bf16: .bf16(base.assumingMemoryBound(to: UInt16.self))
      default: .f16(base.assumingMemoryBound(to: UInt16.self))
      }
    matrix = Self.matrix(storage, shape, rounds: rounds)
    if Self.isRounded(tensor, for: precision) {
      // Once, here, in as many bytes as f16 took or in half of f32's. A weight that learns starts from what it was.
      unrounded = tensor
      let half = FloatBuffer(capacity: (count + 1) / 2)
      let narrow = UnsafeMutableRawPointer(half.pointer).assumingMemoryBound(to: UInt16.self)
      let exact = matrix
      parallelRanges(count, grain: 65_536) { exact.decode($0, into: narrow + $0.lowerBound) }
      tensor.releasePages()
      (owner, mapped) = (half, nil)
      matrix = Self.matrix(.bf16(UnsafePointer(narrow)), shape, rounds: true)
    }
  }

  /// Whether a tensor is copied, rounded, for products in that precision.
  package static func isRounded(_ tensor: TensorView, for precision: Precision) -> Bool {
    precision == .bf16 && tensor.shape.count == 2 && [.f32, .f16].contains(tensor.dtype)
  }

  /// A checkpoint's matrix that `quantize` makes NF4: until then it has a shape and no numbers.
  package init(unquantized tensor: TensorView, precision: Precision) throws(GoraError) {
    name = tensor.name
    shape = tensor.shape
    unquantized = (tensor, precision)
    let nothing = try NF4Weight(count: 0, at: tensor.location) { _, _ in }
    matrix = Self.matrix(.nf4(nothing), shape, rounds: precision == .bf16)
  }

  /// Makes NF4 of what is to be it; its pages of the mapped file are given back, so that a model is never there twice.
  /// - Throws: `.data` where an element is not finite or not a float.
  package func quantize() throws(GoraError) {
    guard let (tensor, precision) = unquantized else { return }
    let source = try Parameter(tensor, precision: .f32)
    let elements = WeightMatrix(source.matrix.storage, rows: source.count, columns: 1)
    let weight = try NF4Weight(count: source.count, at: tensor.location) { elements.widen($0, into: $1) }
    withExtendedLifetime(source) {}
    tensor.releasePages()
    matrix = Self.matrix(.nf4(weight), shape, rounds: precision == .bf16)
    unquantized = nil
  }

  private static func matrix(_ storage: WeightMatrix.Storage, _ shape: [Int], rounds: Bool) -> WeightMatrix {
    let columns = shape.last ?? 1
    return WeightMatrix(
      storage, rows: shape.dropLast().reduce(1, *), columns: columns, roundsInputs: rounds)
  }

  /// Turns a frozen weight into an owned f32 one with a zeroed gradient.
  package func makeTrainable() {
    if values == nil {
      let owned = FloatBuffer(capacity: count)
      if let unrounded {
        unrounded.widen(into: owned.pointer)
      } else {
        matrix.widen(0..<matrix.rows, into: owned.pointer)
      }
      values = owned
      (owner, mapped, unrounded) = (nil, nil, nil)
      matrix = Self.matrix(.f32(UnsafePointer(owned.pointer)), shape, rounds: false)
    }
    if gradient == nil { gradient = FloatBuffer(zeros: count) }
  }

  /// Computes with an f32 copy of the weight, which may then be changed, until `dropWorkingCopy`.
  /// - Parameter buffer: room for `count` floats.
  package func makeWorkingCopy(in buffer: FloatBuffer) {
    precondition(original == nil && buffer.count >= count)
    parallelRanges(matrix.rows, grain: 16) { range in
      matrix.widen(range, into: buffer.pointer + range.lowerBound * matrix.columns)
    }
    original = (matrix, values)
    values = buffer
    matrix = Self.matrix(.f32(UnsafePointer(buffer.pointer)), shape, rounds: false)
  }

  /// Computes with the weight itself again, which no one has written to.
  package func dropWorkingCopy() {
    guard let original else { return }
    (matrix, values) = original
    self.original = nil
  }

  /// A vector's floats.
  package var vector: UnsafePointer<Float> {
    guard case .f32(let pointer) = matrix.storage else { preconditionFailure("\(name) is not held in f32") }
    return pointer
  }
}

/// Where the parameters of a new model come from.
package protocol ParameterSource {
  /// - Parameter shape: what the model expects; a mismatch is an error that shows both.
  func parameter(_ name: String, shape: [Int]) throws(GoraError) -> Parameter
  /// The same for the weight [out, in] of a linear module, which a source may quantise.
  func linearWeight(_ name: String, shape: [Int]) throws(GoraError) -> Parameter
}

extension ParameterSource {
  package func linearWeight(_ name: String, shape: [Int]) throws(GoraError) -> Parameter {
    try parameter(name, shape: shape)
  }
}

/// A checkpoint's tensors, mapped. A model of it is quantised by `quantize`, where it is to be.
package struct CheckpointSource: ParameterSource {
  package let folder: ModelFolder
  package let precision: Precision
  /// nil: weights as they are.
  package let quantization: Quantization?

  package init(folder: ModelFolder, precision: Precision, quantization: Quantization? = nil) {
    self.folder = folder
    self.precision = precision
    self.quantization = quantization
  }

  package func parameter(_ name: String, shape: [Int]) throws(GoraError) -> Parameter {
    try Parameter(tensor(name, shape: shape), precision: precision)
  }

  package func linearWeight(_ name: String, shape: [Int]) throws(GoraError) -> Parameter {
    let tensor = try tensor(name, shape: shape)
    if let quantization, tensor.dtype.isQuantised {
      throw GoraError(
        .usage, at: tensor.location,
        "is in \(tensor.dtype.rawValue) already; --quantize \(quantization.rawValue) would quantise it a second time",
        hint: "leave --quantize out: the weights stay as they are in the file")
    }
    return switch quantization {
    case .nf4: try Parameter(unquantized: tensor, precision: precision)
    case nil: try Parameter(tensor, precision: precision)
    }
  }

  private func tensor(_ name: String, shape: [Int]) throws(GoraError) -> TensorView {
    guard let tensor = folder.tensor(name) else {
      throw GoraError(.data, at: .file(folder.path), "the checkpoint lacks tensor \"\(name)\"")
    }
    guard tensor.shape == shape else {
      throw GoraError(
        .data, at: .object(folder.path, name: " tensor \"\(name)\""),
        "shape \(tensor.shape) in the weights, \(shape) from config.json")
    }
    return tensor
  }
}

/// A model from nothing: each weight as `initial` says, by a random stream of its own.
package struct RandomSource: ParameterSource {
  package let seed: UInt64
  private let initial: @Sendable (String) -> InitialValues

  package init(seed: UInt64, initial: @escaping @Sendable (_ weight: String) -> InitialValues) {
    self.seed = seed
    self.initial = initial
  }

  package func parameter(_ name: String, shape: [Int]) throws(GoraError) -> Parameter {
    let values = FloatBuffer(zeros: shape.reduce(1, *))
    switch initial(name) {
    case .constant(let value): values.pointer.update(repeating: value, count: values.count)
    case .normal(let deviation):
      var random = Random(seed: seed, stream: "initial/\(name)")
      for i in 0..<values.count { values.pointer[i] = Float(random.normal() * deviation) }
    }
    return Parameter(name: name, shape: shape, values: values)
  }
}
