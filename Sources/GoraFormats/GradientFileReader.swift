import CGoraKernels
import GoraCore

/// Reads `grad.h5`, trusting nothing in it: sizes are checked against what is stored before memory is taken.
///
/// One reader may be used from several threads at once.
package struct GradientFileReader: Sendable {
  package let path: String
  /// Names of the weights that have a gradient, in natural order (layer 2 before layer 10).
  package let names: [String]
  /// Identity of the model that the gradients are of; nil where the file does not say.
  package let model: String?
  private let root: HDF5Object
  let groups: HDF5Group
  private let matrices: [GradientKind: HDF5Group]

  /// Most steps or windows that a file may tell of.
  private static let mostSteps = 1 << 20
  /// Most numbers that may be read of all of them, half a gigabyte: arrays of zeros take next to nothing in a file.
  private static let mostStepValues = 1 << 26

  /// Opens the file and checks that it is whole and of this format and version.
  /// - Throws: `.noInput` where it is missing, `.data` where it is not HDF5, cut short, never finished or of another format.
  package init(path: String) throws(GoraError) { try self.init(HDF5FileReader(path: path), path: path) }

  /// A file in memory; `path` is what errors call it.
  package init(bytes: [UInt8], path: String) throws(GoraError) {
    try self.init(HDF5FileReader(HDF5Bytes(bytes, path: path)), path: path)
  }

  private init(_ file: HDF5FileReader, path: String) throws(GoraError) {
    (self.path, root) = (path, file.root)
    guard try root.text(attribute: "format") == GradientLayout.format else {
      throw GoraError(
        .data, at: .file(path), "not a gradient file: the root attribute \"format\" is not \"\(GradientLayout.format)\"",
        hint: "make one with gora-grad")
    }
    let version = try root.integer(attribute: "format_version")
    guard version == GradientLayout.version else {
      throw GoraError(
        .data, at: .file(path),
        "format version \(version.map { "\($0)" } ?? "missing"); this gora reads version \(GradientLayout.version)",
        hint: "make the file again with this version's gora-grad")
    }
    guard try root.integer(attribute: "complete") == 1 else {
      throw GoraError(.data, at: .file(path), "the file was never finished", hint: "run gora-grad again")
    }
    groups = try HDF5Group(root)
    let gradients = try HDF5Group(groups.object(GradientKind.mean.group))
    var matrices = [GradientKind.mean: gradients]
    for kind in [GradientKind.squares, .displacement] where groups.contains(kind.group) {
      matrices[kind] = try HDF5Group(groups.object(kind.group))
    }
    self.matrices = matrices
    names = gradients.names.sorted(by: naturallyPrecedes)
    model = try root.text(attribute: "model")
  }

  /// Whether there are matrices of this kind.
  package func has(_ kind: GradientKind) -> Bool { matrices[kind] != nil }

  /// The shape [out, in] of a gradient, or of another kind's matrix.
  /// - Throws: `.data` where there is none of that name, or it is no f32 or bf16 matrix, or claims more than is stored.
  package func shape(_ name: String, of kind: GradientKind = .mean) throws(GoraError) -> [Int] {
    try matrix(name, kind).shape
  }

  /// Has the system read a gradient ahead, while other work is done.
  /// - Throws: `.data` where it is missing or damaged.
  package func announce(_ name: String, of kind: GradientKind = .mean) throws(GoraError) { try matrix(name, kind).announce() }

  /// A whole gradient, or another kind's matrix, [out, in] row-major; bf16 is widened. It may hold NaN: see `isFinite`.
  /// - Throws: `.data` where it is missing or damaged.
  package func read(_ name: String, of kind: GradientKind = .mean) throws(GoraError) -> [Float] {
    let shape = try shape(name, of: kind)
    var failure: GoraError?
    let values = [Float](unsafeUninitializedCapacity: shape[0] * shape[1]) { buffer, count in
      guard let start = buffer.baseAddress else { return }
      do throws(GoraError) {
        try readRows(name, of: kind, 0..<shape[0], into: start)
        count = shape[0] * shape[1]
      } catch { failure = error }
    }
    if let failure { throw failure }
    return values
  }

  /// Rows of a gradient into memory for `range.count` × columns values; ranges of whole chunks are read fastest.
  /// - Throws: `.data` where it is missing or damaged.
  package func readRows(
    _ name: String, of kind: GradientKind = .mean, _ range: Range<Int>, into values: UnsafeMutablePointer<Float>
  ) throws(GoraError) {
    let dataset = try matrix(name, kind)
    let (rows, columns) = (dataset.shape[0], dataset.shape[1])
    precondition(range.lowerBound >= 0 && range.upperBound <= rows, "rows outside the gradient")
    if dataset.element == .float32 { return try dataset.read(rows: range, into: values) }
    let step = max(1, dataset.chunk?[0] ?? (1 << 20) / max(1, columns))
    var block = [UInt16](repeating: 0, count: min(step, range.count) * columns)
    var first = range.lowerBound
    while first < range.upperBound {
      // Up to the end of the chunk, so that each is decoded once.
      let last = min((first / step + 1) * step, range.upperBound)
      try dataset.read(rows: first..<last, into: &block)
      gora_bf16_to_f32(block, values + (first - range.lowerBound) * columns, (last - first) * columns)
      first = last
    }
  }

  /// What the steps saw.
  /// - Throws: `.data` where it is missing or damaged, or the arrays differ in length.
  package func steps() throws(GoraError) -> GradientSteps {
    let group = try HDF5Group(groups.object("steps"))
    var left = GradientFileReader.mostStepValues
    let loss = try values("loss", of: group, .float64, zero: 0.0, &left)
    let tokens = try values("tokens", of: group, .int64, zero: Int64(0), &left).map { Int($0) }
    let rows = try values("rows", of: group, .int64, zero: Int64(0), &left).map { Int($0) }
    let importance = try importances(of: group, &left)
    var counts = [loss.count, tokens.count, rows.count] + importance.map(\.values.count)
    var steps = GradientSteps(loss: loss, tokens: tokens, rows: rows, importance: importance)
    // Files of other programs, and of gora's first versions, do not have these.
    if group.names.contains("change_max") {
      steps.changeMax = try values("change_max", of: group, .float64, zero: 0.0, &left)
      steps.changeMean = try values("change_mean", of: group, .float64, zero: 0.0, &left)
      counts += [steps.changeMax.count, steps.changeMean.count]
    }
    try require(counts, equal: loss.count, in: GradientLayout.steps)
    return steps
  }

  /// Importances of windows of steps; nil where the run did not track them.
  /// - Throws: `.data` where they are damaged, or the arrays differ in length.
  package func track() throws(GoraError) -> GradientTrack? {
    guard groups.names.contains("track") else { return nil }
    let group = try HDF5Group(groups.object("track"))
    var left = GradientFileReader.mostStepValues
    let steps = try values("steps", of: group, .int64, zero: Int64(0), &left).map { Int($0) }
    let importance = try importances(of: group, &left)
    try require([steps.count] + importance.map(\.values.count), equal: steps.count, in: GradientLayout.track)
    return GradientTrack(steps: steps, importance: importance)
  }

  private func require(_ counts: [Int], equal count: Int, in group: String) throws(GoraError) {
    guard let other = counts.first(where: { $0 != count }) else { return }
    throw GoraError(.data, at: .object(path, name: group), "arrays of different lengths: \(count) and \(other)")
  }

  private func importances(of group: HDF5Group, _ left: inout Int) throws(GoraError) -> [(name: String, values: [Double])] {
    let group = try HDF5Group(group.object("importance"))
    var importance: [(name: String, values: [Double])] = []
    for name in group.names.sorted(by: naturallyPrecedes) {
      importance.append((name, try values(name, of: group, .float64, zero: 0.0, &left)))
    }
    return importance
  }

  /// A root attribute: text, or an integer as text; nil where there is none.
  /// - Throws: `.data` where it is damaged or of another type.
  package func attribute(_ name: String) throws(GoraError) -> String? {
    do throws(GoraError) { return try root.text(attribute: name) } catch {
      return try root.integer(attribute: name).map { "\($0)" }
    }
  }

  /// Whether no value is NaN or infinite: gora writes none, another tool's file may hold some.
  package static func isFinite(_ values: [Float]) -> Bool { values.withUnsafeBufferPointer { firstNonFinite($0) == nil } }

  private func matrix(_ name: String, _ kind: GradientKind) throws(GoraError) -> HDF5DatasetReader {
    let group = matrices[kind]
    guard let group, group.contains(name) else {
      throw GoraError(
        .data, at: .object(path, name: "/\(kind.group)/\(name)"),
        "no such gradient; the file has \(group?.names.count ?? 0) others")
    }
    let dataset = try HDF5DatasetReader(group.object(name), rank: 2, elements: [.float32, .uint16])
    if dataset.element == .uint16 {
      let type = try dataset.object.text(attribute: "dtype")
      guard type == "bf16" else {
        throw dataset.object.storage.damaged(
          "uint16 values with dtype \(type.map { "\"\($0)\"" } ?? "missing"); expected \"bf16\"")
      }
    }
    return dataset
  }

  func values<Value: BitwiseCopyable>(
    _ name: String, of group: HDF5Group, _ element: HDF5Element, zero: Value, _ left: inout Int
  ) throws(GoraError) -> [Value] {
    let dataset = try HDF5DatasetReader(group.object(name), rank: 1, elements: [element])
    let count = dataset.shape[0]
    guard count <= GradientFileReader.mostSteps, count <= left else {
      throw dataset.object.storage.damaged(
        "\(count) steps; gora reads at most \(GradientFileReader.mostSteps), and \(GradientFileReader.mostStepValues) numbers of them in all"
      )
    }
    left -= count
    var values = [Value](repeating: zero, count: count)
    try dataset.read(rows: 0..<count, into: &values)
    return values
  }
}
