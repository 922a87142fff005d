import GoraCore

/// Principal components of the inputs that modules share, as a gradient file has them beside gradients (`gora-grad --collect inputs`); the
/// components themselves are read when they are wanted.
package struct InputComponents: Sendable, Equatable {
  /// Paths of the modules that see these inputs.
  package var modules: [String]
  package var inputSize: Int
  /// The part of the inputs' variance that each component explains, falling.
  package var ratios: [Double]
  /// The cosine between each component and what it was before the last part of the inputs.
  package var similarity: [Double]
  /// Inputs seen.
  package var tokens: Int
  /// The name of the group in the file.
  package var group: String

  package init(modules: [String], inputSize: Int, ratios: [Double], similarity: [Double], tokens: Int, group: String) {
    self.modules = modules
    self.inputSize = inputSize
    self.ratios = ratios
    self.similarity = similarity
    self.tokens = tokens
    self.group = group
  }
}

extension GradientFileReader {
  /// Most numbers and names that may be read of all inputs, beside their components.
  private static let mostValues = 1 << 22

  /// All inputs, in the model's order; empty where the run did not collect them.
  /// - Throws: `.data` where they are damaged, arrays differ in length, a ratio is no share, or a module is named twice.
  package func inputs() throws(GoraError) -> [InputComponents] {
    guard groups.names.contains("inputs") else { return [] }
    let all = try HDF5Group(groups.object("inputs"))
    var left = GradientFileReader.mostValues
    var seen: Set<String> = []
    var inputs: [InputComponents] = []
    for name in all.names.sorted(by: naturallyPrecedes) {
      let dataset = try components(name, in: all)
      let place = dataset.object.storage
      let group = try HDF5Group(all.object(name))
      let ratios = try values("explained_variance_ratio", of: group, .float64, zero: 0.0, &left)
      let similarity = try values("similarity", of: group, .float64, zero: 0.0, &left)
      guard ratios.count == dataset.shape[0], similarity.count == ratios.count else {
        throw place.damaged("arrays of different lengths: \(dataset.shape[0]), \(ratios.count) and \(similarity.count)")
      }
      guard ratios.allSatisfy({ 0...1.001 ~= $0 }), ratios.reduce(0, +) <= 1.001, similarity.allSatisfy(\.isFinite) else {
        throw place.damaged("explained variance ratios or similarities that are not shares")
      }
      let tokens = try dataset.object.integer(attribute: "tokens") ?? 0
      guard tokens > 0 else { throw place.damaged("\(tokens) tokens") }
      let modules = (try dataset.object.text(attribute: "modules") ?? "").split(separator: " ").map(String.init)
      left -= modules.count
      guard !modules.isEmpty, left >= 0 else { throw place.damaged("no names of modules, or too many") }
      if let twice = modules.first(where: { !seen.insert($0).inserted }) {
        throw place.damaged("module \"\(twice)\" a second time")
      }
      inputs.append(
        InputComponents(
          modules: modules, inputSize: dataset.shape[1], ratios: ratios, similarity: similarity, tokens: tokens, group: name))
    }
    return inputs
  }

  /// The first components [count, in] of some inputs, row-major.
  /// - Throws: `.data` where they are damaged or not finite.
  package func components(of inputs: InputComponents, count: Int) throws(GoraError) -> [Float] {
    precondition(0...inputs.ratios.count ~= count)
    let dataset = try components(inputs.group, in: try HDF5Group(groups.object("inputs")))
    var values = [Float](repeating: 0, count: count * inputs.inputSize)
    try dataset.read(rows: 0..<count, into: &values)
    guard GradientFileReader.isFinite(values) else { throw dataset.object.storage.damaged("a component is not finite") }
    return values
  }

  private func components(_ name: String, in all: HDF5Group) throws(GoraError) -> HDF5DatasetReader {
    let dataset = try HDF5DatasetReader(HDF5Group(all.object(name)).object("components"), rank: 2, elements: [.float32])
    guard 1...max(1, dataset.shape[1]) ~= dataset.shape[0] else {
      throw dataset.object.storage.damaged("\(dataset.shape[0]) components of inputs of \(dataset.shape[1])")
    }
    return dataset
  }
}

extension GradientFileWriter {
  /// Writes the components of some inputs, the next after those before.
  /// - Parameter components: [k, in], k as many as ratios.
  /// - Throws: `.negative` where a number is not finite; `.io` where the disk is full.
  package func write(inputs: InputComponents, components: [Float]) throws(GoraError) {
    precondition(components.count == inputs.ratios.count * inputs.inputSize && inputs.similarity.count == inputs.ratios.count)
    try attempt { () throws(GoraError) in
      if !hasInputs { try opened().createGroup(GradientLayout.inputs) }
      hasInputs = true
      let group = "\(GradientLayout.inputs)/\(inputs.group)"
      try opened().createGroup(group)
      guard GradientFileReader.isFinite(components), (inputs.ratios + inputs.similarity).allSatisfy(\.isFinite) else {
        throw GoraError(.negative, at: .object(path, name: group), "the components are not finite", hint: "try --dtype f32")
      }
      let dataset = try HDF5DatasetWriter(
        creating: "\(group)/components", in: try opened(), element: .float32, shape: [inputs.ratios.count, inputs.inputSize],
        compression: compression)
      try dataset.write(attribute: "modules", inputs.modules.joined(separator: " "))
      try dataset.write(attribute: "tokens", inputs.tokens)
      try dataset.write(rows: 0..<inputs.ratios.count, from: components)
      try dataset.close()
      try write(inputs.ratios, .float64, to: "\(group)/explained_variance_ratio")
      try write(inputs.similarity, .float64, to: "\(group)/similarity")
    }
  }
}
