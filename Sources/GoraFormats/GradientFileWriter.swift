import CGoraKernels
import CHDF5
import Glibc
import GoraCore

/// Writes `grad.h5`: mean gradients under `/gradients`, what each step saw under `/steps`, and last the attribute `complete`.
///
/// The file appears under its name when `finish` succeeds; after an error, or without `finish`, nothing is left.
package final class GradientFileWriter {
  let path: String
  private var output: AtomicFile?
  let compression: Compression
  private let storesBFloat16: Bool
  private var file: HDF5FileWriter?
  /// Whether the group of inputs is there.
  var hasInputs = false
  /// The kinds whose groups are there.
  private var kinds: Set<GradientKind> = [.mean]

  /// Creates the temporary file, the groups and the root attributes.
  /// - Parameters:
  ///   - storesBFloat16: round to bf16, stored as uint16 with the attribute dtype="bf16"; else f32.
  ///   - attributes: root attributes besides format, format_version and HDF5_Version: creator, creator_version, provenance (JSON
  ///     text), model, data and tokenizer (identities).
  /// - Throws: `.cannotCreate`, or `.io` where the disk is full.
  package init(
    path: String, compression: Compression, storesBFloat16: Bool, attributes: [(String, String)]
  ) throws(GoraError) {
    self.path = path
    self.compression = compression
    self.storesBFloat16 = storesBFloat16
    var status = stat()
    if stat(path, &status) == 0, status.st_mode & S_IFMT != S_IFREG {
      throw GoraError(
        .cannotCreate, at: .file(path), "not a regular file, and HDF5 needs one that can be searched",
        hint: "write to a file")
    }
    let output = try AtomicFile(path: path)
    self.output = output
    try attempt { () throws(GoraError) in
      let created = try HDF5FileWriter(creating: output.temporaryPath, reported: path)
      file = created
      try created.write(attribute: "format", GradientLayout.format)
      try created.write(attribute: "format_version", GradientLayout.version)
      try created.write(attribute: "HDF5_Version", HDF5.version)
      for (name, value) in attributes { try created.write(attribute: name, value) }
      try created.createGroup("/\(GradientKind.mean.group)")
    }
  }

  deinit { abandon() }

  /// Writes the mean gradient of one weight, the mean of its squares, or its displacement, a chunk at a time: nothing of its size is taken beside it.
  /// - Parameters:
  ///   - name: the parameter's name in the checkpoint, such as `model.layers.0.self_attn.q_proj.weight`.
  ///   - values: [rows, columns], row-major; rows are outputs.
  ///   - scale: factor of the values, such as one over the number of those summed in them.
  ///   - samples: rows that the mean is over.
  ///   - tokens: tokens in them, prompts included.
  /// - Throws: `.negative` where a value is not finite (in bf16, where that is stored); `.io` where the disk is full.
  package func write(
    name: String, kind: GradientKind = .mean, rows: Int, columns: Int, values: UnsafePointer<Float>, scale: Float = 1,
    samples: Int, tokens: Int
  ) throws(GoraError) {
    try attempt { () throws(GoraError) in
      if kinds.insert(kind).inserted { try opened().createGroup("/\(kind.group)") }
      let object = try GradientLayout.object(name, in: "/\(kind.group)", path: path)
      let element: HDF5Element = storesBFloat16 ? .uint16 : .float32
      let dataset = try HDF5DatasetWriter(
        creating: object, in: try opened(), element: element, shape: [rows, columns], compression: compression)
      try dataset.write(attribute: "reduction", kind.rawValue)
      try dataset.write(attribute: "samples", samples)
      try dataset.write(attribute: "tokens", tokens)
      if storesBFloat16 { try dataset.write(attribute: "dtype", "bf16") }
      let step = HDF5DatasetWriter.chunkRows(shape: dataset.shape, element: element)
      var block = [Float](repeating: 0, count: min(step, rows) * columns)
      var narrow = [UInt16](repeating: 0, count: storesBFloat16 ? block.count : 0)
      for first in stride(from: 0, to: rows, by: step) {
        let last = min(first + step, rows)
        let count = (last - first) * columns
        let index = block.withUnsafeMutableBufferPointer { block -> Int? in
          guard let start = block.baseAddress else { return nil }
          start.update(from: values + first * columns, count: count)
          if scale != 1 { gora_scale(start, scale, count) }
          return firstNonFinite(UnsafeBufferPointer(start: start, count: count))
        }
        if let index {
          throw GoraError(
            .negative, at: .object(path, name: object),
            "the gradient is \(block[index]) in row \(first + index / columns), column \(index % columns)",
            hint: "look for bad rows in the data, or try --dtype f32")
        }
        if storesBFloat16 {
          gora_f32_to_bf16(block, &narrow, count)
          // The largest f32 values round up to infinity.
          if let index = narrow[..<count].firstIndex(where: { $0 & 0x7FFF == 0x7F80 }) {
            throw GoraError(
              .negative, at: dataset.place.location,
              "\(block[index]) in row \(first + index / columns) is too large for bf16", hint: "use --store f32")
          }
          try dataset.write(rows: first..<last, from: narrow)
        } else {
          try dataset.write(rows: first..<last, from: block)
        }
      }
      try dataset.close()
    }
  }

  /// Writes what each step saw.
  /// - Throws: `.internal` where the arrays differ in length or are empty; `.io` where the disk is full.
  package func write(steps: GradientSteps) throws(GoraError) {
    try attempt { () throws(GoraError) in
      let changes = steps.changeMax.isEmpty ? [] : [steps.changeMax.count, steps.changeMean.count]
      let counts = [steps.loss.count, steps.tokens.count, steps.rows.count] + steps.importance.map(\.values.count) + changes
      let count = counts[0]
      guard count > 0, counts.allSatisfy({ $0 == count }) else {
        throw GoraError(.internal, at: .object(path, name: GradientLayout.steps), "arrays of \(counts) steps")
      }
      try opened().createGroup(GradientLayout.steps)
      try write(steps.loss, .float64, to: GradientLayout.loss)
      try write(steps.tokens.map { Int64($0) }, .int64, to: GradientLayout.tokens)
      try write(steps.rows.map { Int64($0) }, .int64, to: GradientLayout.rows)
      if !changes.isEmpty {
        try write(steps.changeMax, .float64, to: GradientLayout.changeMax)
        try write(steps.changeMean, .float64, to: GradientLayout.changeMean)
      }
      try write(steps.importance, to: GradientLayout.importance)
    }
  }

  /// Writes importances of windows of steps.
  /// - Throws: `.internal` where the arrays differ in length or are empty; `.io` where the disk is full.
  package func write(track: GradientTrack) throws(GoraError) {
    try attempt { () throws(GoraError) in
      let count = track.steps.count
      guard count > 0, track.importance.allSatisfy({ $0.values.count == count }) else {
        throw GoraError(.internal, at: .object(path, name: GradientLayout.track), "\(count) windows, or arrays that differ")
      }
      try opened().createGroup(GradientLayout.track)
      try write(track.steps.map { Int64($0) }, .int64, to: GradientLayout.trackSteps)
      try write(track.importance, to: GradientLayout.trackImportance)
    }
  }

  private func write(_ importance: [(name: String, values: [Double])], to group: String) throws(GoraError) {
    try opened().createGroup(group)
    for (name, values) in importance {
      try write(values, .float64, to: try GradientLayout.object(name, in: group, path: path))
    }
  }

  func write<Value: BitwiseCopyable>(
    _ values: [Value], _ element: HDF5Element, to object: String
  ) throws(GoraError) {
    let dataset = try HDF5DatasetWriter(
      creating: object, in: try opened(), element: element, shape: [values.count], compression: compression)
    try dataset.write(rows: 0..<values.count, from: values)
    try dataset.close()
  }

  /// Marks the file complete, closes it, syncs it and gives it its name.
  /// - Throws: `.io` where the disk is full.
  package func finish() throws(GoraError) {
    try attempt { () throws(GoraError) in
      try opened().write(attribute: "complete", 1)
      try opened().close()
      file = nil
      try output?.commit()
      output = nil
    }
  }

  func opened() throws(GoraError) -> HDF5FileWriter {
    if let file { return file }
    throw GoraError(.internal, at: .file(path), "written to after it was finished or had failed")
  }

  /// Runs one step alone in libhdf5; an error leaves no file behind, for the tool may exit without a `deinit`.
  func attempt(_ body: () throws(GoraError) -> Void) throws(GoraError) {
    do throws(GoraError) { try HDF5.exclusively(body) } catch {
      abandon()
      throw error
    }
  }

  private func abandon() {
    if let output {
      // libhdf5 keeps a file open that it could not flush: its blocks are given back before its name.
      truncate(output.temporaryPath, 0)
    }
    if let file { _ = try? HDF5.exclusively { () throws(GoraError) in try file.close() } }
    file = nil
    output = nil
  }
}
