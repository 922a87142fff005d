import GoraCore
import GoraFormats
import GoraModels

extension GradientFileReader {
  /// Refuses gradients of another model; a file that does not say passes, and its shapes are checked all the same.
  func requireModel(_ identity: ModelIdentity) throws(GoraError) {
    guard let model, let difference = identity.difference(from: model) else { return }
    throw GoraError(
      .data, at: .file(path), "these are gradients of \(difference)",
      hint: "give the --model they were made with, or run gora-grad on this one")
  }

  /// The weight that a gradient, or another kind's matrix, belongs to.
  /// - Throws: status 65 where the model has none of that name and shape.
  func weight(_ name: String, of folder: ModelFolder, kind: GradientKind = .mean) throws(GoraError) -> TensorView {
    let place = Location.object(path, name: "/\(kind.group)/\(name)")
    guard let weight = folder.tensor(name) else { throw GoraError(.data, at: place, "\(folder.path) has no such weight") }
    let shape = try shape(name, of: kind)
    guard shape == weight.shape else {
      throw GoraError(.data, at: place, "shape \(shape) in \(path), \(weight.shape) in \(folder.path)")
    }
    return weight
  }
}

extension GradientFileReader {
  /// The components of inputs.
  /// - Throws: status 65 where the file has none.
  func requireInputs() throws(GoraError) -> [InputComponents] {
    let inputs = try inputs()
    if inputs.isEmpty {
      throw GoraError(
        .data, at: .file(path), "the file has no components of inputs", hint: "run gora-grad with --collect gradients,inputs")
    }
    return inputs
  }
}

extension InputComponents {
  /// The weight of one of the modules.
  /// - Throws: status 65 where the model has none of that name with so many inputs.
  func weight(of module: String, in folder: ModelFolder, path: String) throws(GoraError) -> TensorView {
    let place = Location.object(path, name: "/inputs/\(group)")
    guard let weight = folder.tensor(ModuleName.weight(of: module)), weight.shape.count == 2 else {
      throw GoraError(.data, at: place, "\(folder.path) has no module \"\(module)\"")
    }
    guard weight.shape[1] == inputSize else {
      throw GoraError(.data, at: place, "inputs of \(inputSize) in \(path), \(weight.shape[1]) in \(folder.path)")
    }
    return weight
  }
}

extension GoraError {
  /// With a place, unless it has one already.
  func located(at place: Location) -> GoraError {
    var error = self
    if error.location == nil { error.location = place }
    return error
  }
}

extension RunContext {
  /// The provenance of a result whose bytes depend on neither threads nor, where it is not given, a seed; empty with
  /// `--no-provenance`.
  func exactProvenance(
    after earlier: Provenance?, inputs: [String], seed: UInt64? = nil
  ) throws(GoraError) -> Provenance {
    guard recordsProvenance else { return Provenance() }
    return try (earlier ?? Provenance()).appending(
      tool: tool, version: version, arguments: arguments, inputs: inputs, seed: seed)
  }
}
