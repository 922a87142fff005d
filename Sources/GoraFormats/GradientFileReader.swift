import GoraCore

/// Reads `grad.h5`, trusting nothing in it: sizes are checked against what is stored before memory is taken.
///
/// One reader may be used from several threads; their reads take turns (libhdf5 is single-threaded).
package final class GradientFileReader: @unchecked Sendable {
  package let path: String
  /// Names of the weights that have a gradient, in natural order (layer 2 before layer 10).
  package let names: [String]
  /// Identity of the model that the gradients are of; nil where the file does not say.
  package let model: String?
  private let file: HDF5File
  private let known: Set<String>

  /// Opens the file and checks that it is whole and of this format and version.
  /// - Throws: `.noInput` where it is missing, `.data` where it is not HDF5, cut short, never finished or of another format.
  package init(path: String) throws(GoraError) {
    self.path = path
    (file, names, model) = try HDF5.exclusively { () throws(GoraError) -> (HDF5File, [String], String?) in
      let file = try HDF5File(reading: path)
      let place = file.place
      guard try file.text(attribute: "format") == GradientLayout.format else {
        throw place.error(
          "not a gradient file: the root attribute \"format\" is not \"\(GradientLayout.format)\"",
          hint: "make one with gora-grad")
      }
      let version = try file.integer(attribute: "format_version")
      guard version == GradientLayout.version else {
        throw place.error(
          "format version \(version.map { "\($0)" } ?? "missing"); this gora reads version \(GradientLayout.version)",
          hint: "make the file again with this version's gora-grad")
      }
      guard try file.integer(attribute: "complete") == 1 else {
        throw place.error("the file was never finished", hint: "run gora-grad again")
      }
      // The groups' own links are checked first: an external one would lead into another file.
      _ = try file.names(in: "/")
      let names = try file.names(in: GradientLayout.gradients).sorted(by: naturallyPrecedes)
      return (file, names, try file.text(attribute: "model"))
    }
    known = Set(names)
  }

  deinit {
    // A file that was only read has nothing to lose when closing fails.
    _ = try? HDF5.exclusively { () throws(GoraError) in try file.close() }
  }

  /// The shape [out, in] of a gradient.
  /// - Throws: `.data` where there is none of that name, or it is no f32 or bf16 matrix, or claims more than is stored.
  package func shape(_ name: String) throws(GoraError) -> [Int] {
    try HDF5.exclusively { () throws(GoraError) in try gradient(name).shape }
  }

  /// A whole gradient, [out, in] row-major; bf16 is widened. It may hold NaN: see `isFinite`.
  /// - Throws: `.data` where it is missing or damaged.
  package func read(_ name: String) throws(GoraError) -> [Float] {
    let shape = try shape(name)
    var failure: GoraError?
    let values = [Float](unsafeUninitializedCapacity: shape[0] * shape[1]) { buffer, count in
      guard let start = buffer.baseAddress else { return }
      do throws(GoraError) {
        try readRows(name, 0..<shape[0], into: start)
        count = shape[0] * shape[1]
      } catch { failure = error }
    }
    if let failure { throw failure }
    return values
  }

  /// Rows of a gradient into memory for `range.count` × columns values; ranges of whole chunks are read fastest.
  /// - Throws: `.data` where it is missing or damaged.
  package func readRows(_ name: String, _ range: Range<Int>, into values: UnsafeMutablePointer<Float>) throws(GoraError) {
    try HDF5.exclusively { () throws(GoraError) in
      let dataset = try gradient(name)
      let (rows, columns) = (dataset.shape[0], dataset.shape[1])
      precondition(range.lowerBound >= 0 && range.upperBound <= rows, "rows outside the gradient")
      if dataset.element == .float32 { return try dataset.read(rows: range, into: values) }
      let step = dataset.chunk?[0] ?? rows
      var block = [UInt16](repeating: 0, count: min(step, range.count) * columns)
      var first = range.lowerBound
      while first < range.upperBound {
        // Up to the end of the chunk, so that each is decoded once.
        let last = min((first / step + 1) * step, range.upperBound)
        try dataset.read(rows: first..<last, into: &block)
        let target = values + (first - range.lowerBound) * columns
        for i in 0..<(last - first) * columns { target[i] = Float(BFloat16(bitPattern: block[i])) }
        first = last
      }
    }
  }

  /// What the steps saw.
  /// - Throws: `.data` where it is missing or damaged, or the arrays differ in length.
  package func steps() throws(GoraError) -> GradientSteps {
    try HDF5.exclusively { () throws(GoraError) in
      // Refuses links out of the file.
      let names = try file.names(in: GradientLayout.steps)
      let loss = try values(GradientLayout.loss, .float64, zero: 0.0)
      let tokens = try values(GradientLayout.tokens, .int64, zero: Int64(0)).map { Int($0) }
      let rows = try values(GradientLayout.rows, .int64, zero: Int64(0)).map { Int($0) }
      let importance = try importances(in: GradientLayout.importance)
      var counts = [loss.count, tokens.count, rows.count] + importance.map(\.values.count)
      var steps = GradientSteps(loss: loss, tokens: tokens, rows: rows, importance: importance)
      // Files of other programs, and of gora's first versions, do not have these.
      if names.contains("change_max") {
        steps.changeMax = try values(GradientLayout.changeMax, .float64, zero: 0.0)
        steps.changeMean = try values(GradientLayout.changeMean, .float64, zero: 0.0)
        counts += [steps.changeMax.count, steps.changeMean.count]
      }
      guard counts.allSatisfy({ $0 == loss.count }) else {
        throw file.place.at(GradientLayout.steps).error("arrays of different lengths: \(counts)")
      }
      return steps
    }
  }

  /// Importances of windows of steps; nil where the run did not track them.
  /// - Throws: `.data` where they are damaged, or the arrays differ in length.
  package func track() throws(GoraError) -> GradientTrack? {
    try HDF5.exclusively { () throws(GoraError) in
      guard try file.names(in: "/").contains("track") else { return nil }
      _ = try file.names(in: GradientLayout.track)
      let steps = try values(GradientLayout.trackSteps, .int64, zero: Int64(0)).map { Int($0) }
      let importance = try importances(in: GradientLayout.trackImportance)
      guard importance.allSatisfy({ $0.values.count == steps.count }) else {
        throw file.place.at(GradientLayout.track).error(
          "arrays of different lengths: \([steps.count] + importance.map(\.values.count))")
      }
      return GradientTrack(steps: steps, importance: importance)
    }
  }

  private func importances(in group: String) throws(GoraError) -> [(name: String, values: [Double])] {
    var importance: [(name: String, values: [Double])] = []
    for name in try file.names(in: group).sorted(by: naturallyPrecedes) {
      importance.append((name, try values("\(group)/\(name)", .float64, zero: 0.0)))
    }
    return importance
  }

  /// A root attribute: text, or an integer as text; nil where there is none.
  /// - Throws: `.data` where it is damaged or of another type.
  package func attribute(_ name: String) throws(GoraError) -> String? {
    try HDF5.exclusively { () throws(GoraError) in
      do throws(GoraError) { return try file.text(attribute: name) } catch {
        return try file.integer(attribute: name).map { "\($0)" }
      }
    }
  }

  /// Whether no value is NaN or infinite: gora writes none, another tool's file may hold some.
  package static func isFinite(_ values: [Float]) -> Bool { values.withUnsafeBufferPointer { firstNonFinite($0) == nil } }

  /// Opens a gradient; to be called inside `HDF5.exclusively`.
  private func gradient(_ name: String) throws(GoraError) -> HDF5Dataset {
    guard known.contains(name) else {
      throw GoraError(
        .data, at: .object(path, name: "\(GradientLayout.gradients)/\(name)"),
        "no such gradient; the file has \(names.count) others")
    }
    let dataset = try HDF5Dataset(
      opening: "\(GradientLayout.gradients)/\(name)", in: file, rank: 2, elements: [.float32, .uint16])
    if dataset.element == .uint16 {
      let type = try h5TextAttribute("dtype", on: dataset.handle.id, at: dataset.place)
      guard type == "bf16" else {
        throw dataset.place.error("uint16 values with dtype \(type.map { "\"\($0)\"" } ?? "missing"); expected \"bf16\"")
      }
    }
    return dataset
  }

  private func values<Value: BitwiseCopyable>(
    _ object: String, _ element: HDF5Dataset.Element, zero: Value
  ) throws(GoraError) -> [Value] {
    let dataset = try HDF5Dataset(opening: object, in: file, rank: 1, elements: [element])
    var values = [Value](repeating: zero, count: dataset.shape[0])
    try dataset.read(rows: 0..<values.count, into: &values)
    return values
  }
}
