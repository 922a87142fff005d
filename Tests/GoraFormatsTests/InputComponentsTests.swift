import Glibc
import GoraCore
import Testing

@testable import GoraFormats

@Suite struct InputComponentsTests {
  private static let inputs = [
    InputComponents(
      modules: ["l.0.q", "l.0.k"], inputSize: 5, ratios: [0.5, 0.25, 1e-300], similarity: [1, -0.5, 0], tokens: 1 << 40,
      group: "0"),
    InputComponents(modules: ["l.10.o"], inputSize: 3, ratios: [0.9], similarity: [0], tokens: 7, group: "1"),
  ]

  private static func values(_ inputs: InputComponents) -> [Float] {
    sampleGradient(rows: inputs.ratios.count, columns: inputs.inputSize, name: inputs.group)
  }

  private static func write(_ path: String, _ inputs: [InputComponents]) throws(GoraError) {
    let writer = try GradientFileWriter(path: path, compression: .zstd(3), storesBFloat16: true, attributes: [])
    for input in inputs { try writer.write(inputs: input, components: values(input)) }
    try writer.write(steps: sampleSteps)
    try writer.finish()
  }

  @Test func roundTrip() throws {
    let folder = HDF5Folder()
    let path = "\(folder.path)/grad.h5"
    try Self.write(path, Self.inputs)
    let reader = try GradientFileReader(path: path)
    #expect(reader.names.isEmpty && !reader.has(.squares))
    #expect(try reader.inputs() == Self.inputs)
    for input in Self.inputs {
      for count in 0...input.ratios.count {
        #expect(try reader.components(of: input, count: count) == Array(Self.values(input).prefix(count * input.inputSize)))
      }
    }
    try writeSample(path, .none)
    #expect(try GradientFileReader(path: path).inputs().isEmpty)
  }

  /// Squares lie beside the means, under the same names.
  @Test(arguments: [false, true]) func squares(_ storesBFloat16: Bool) throws {
    let folder = HDF5Folder()
    let path = "\(folder.path)/grad.h5"
    let writer = try GradientFileWriter(path: path, compression: .gzip(4), storesBFloat16: storesBFloat16, attributes: [])
    try writer.write(name: "w", rows: 2, columns: 3, values: [1, 2, 3, 4, 5, 6], scale: 0.5, samples: 2, tokens: 9)
    try writer.write(
      name: "w", kind: .squares, rows: 2, columns: 3, values: [1, 4, 9, 16, 25, 36], scale: 0.5, samples: 2, tokens: 9)
    try writer.write(steps: sampleSteps)
    try writer.finish()
    let reader = try GradientFileReader(path: path)
    #expect(reader.names == ["w"] && reader.has(.squares))
    #expect(try reader.shape("w", of: .squares) == [2, 3])
    var values = [Float](repeating: 0, count: 6)
    try reader.readRows("w", of: .squares, 0..<2, into: &values)
    #expect(values == [0.5, 2, 4.5, 8, 12.5, 18])
    #expect(try reader.read("w") == [0.5, 1, 1.5, 2, 2.5, 3])
    let error = hdf5Refusal { () throws(GoraError) in try reader.shape("x", of: .squares) }
    #expect(error?.description.contains("/squares/x: no such gradient") == true)
  }

  @Test func numbersThatAreNotFiniteAreNotWritten() throws {
    let folder = HDF5Folder()
    var bad = Self.inputs[0]
    bad.ratios[1] = .nan
    let error = hdf5Refusal { () throws(GoraError) in try Self.write("\(folder.path)/grad.h5", [bad]) }
    #expect(error?.status == .negative && folder.names.isEmpty)
  }

  /// One wrong thing at a time; each is one error with the place, and no memory is taken for what is not there.
  @Test func whatDoesNotFitIsRefused() throws {
    let folder = HDF5Folder()
    let path = "\(folder.path)/grad.h5"
    struct Content {
      var shape = [2, 4]
      var modules: [String?] = ["l.0.q"]
      var tokens: Int? = 3
      var ratios = [0.5, 0.25]
      var similarity = [1.0, 1]
      var components: [Float] = [1, 0, 0, 0, 0, 1, 0, 0]
    }
    func error(_ change: (inout Content) -> Void) -> GoraError? {
      var content = Content()
      change(&content)
      return hdf5Refusal { () throws(GoraError) in
        try HDF5.exclusively { () throws(GoraError) in
          let file = try HDF5FileWriter(creating: path, reported: path)
          try file.write(attribute: "format", "gora-gradients")
          try file.write(attribute: "format_version", 1)
          try file.createGroup("/gradients")
          try file.createGroup("/inputs")
          for (i, modules) in content.modules.enumerated() {
            try file.createGroup("/inputs/\(i)")
            let dataset = try HDF5DatasetWriter(
              creating: "/inputs/\(i)/components", in: file, element: .float32, shape: content.shape, compression: .none)
            if let modules { try dataset.write(attribute: "modules", modules) }
            if let tokens = content.tokens { try dataset.write(attribute: "tokens", tokens) }
            if content.components.count == content.shape.reduce(1, *) {
              try dataset.write(rows: 0..<content.shape[0], from: content.components)
            }
            try dataset.close()
            for (name, values) in [("explained_variance_ratio", content.ratios), ("similarity", content.similarity)] {
              let array = try HDF5DatasetWriter(
                creating: "/inputs/\(i)/\(name)", in: file, element: .float64, shape: [values.count], compression: .none)
              try array.write(rows: 0..<values.count, from: values)
              try array.close()
            }
          }
          try file.write(attribute: "complete", 1)
          try file.close()
        }
        let reader = try GradientFileReader(path: path)
        for input in try reader.inputs() { _ = try reader.components(of: input, count: input.ratios.count) }
      }
    }
    #expect(error { _ in } == nil)
    for (change, words) in [
      ({ $0.ratios = [0.5] }, "different lengths: 2, 1 and 2"), ({ $0.similarity = [1] }, "different lengths: 2, 2 and 1"),
      ({ $0.ratios = [0.5, .nan] }, "not shares"), ({ $0.ratios = [0.5, -0.1] }, "not shares"),
      ({ $0.ratios = [0.9, 0.9] }, "not shares"), ({ $0.similarity = [1, .infinity] }, "not shares"),
      ({ $0.tokens = nil }, "0 tokens"), ({ $0.tokens = -1 }, "-1 tokens"), ({ $0.modules = [nil] }, "no names of modules"),
      ({ $0.modules = [" "] }, "no names of modules"), ({ $0.modules = ["l.0.q l.0.q"] }, "a second time"),
      ({ $0.modules = ["l.0.q", "l.0.q"] }, "module \"l.0.q\" a second time"),
      ({ $0.shape = [4, 2] }, "4 components of inputs of 2"), ({ $0.shape = [2, 1 << 20] }, "missing"),
      ({ $0.components[3] = .nan }, "not finite"),
    ] as [((inout Content) -> Void, String)] {
      let refusal = error(change)
      #expect(
        refusal?.status == .data && refusal?.description.contains(words) == true, "\(words): \(refusal?.description ?? "none")")
      #expect(refusal?.description.contains("/inputs/") == true)
    }
  }
}
