import Foundation
import GoraCore
import GoraFormats
import GoraMethods
import Testing

/// Starts beside PEFT's own and float64 (Fixtures/starts/make_fixtures.py).
@Suite struct StartFixtureTests {
  private static let (rows, columns, rank) = (24, 20, 3)
  private static let scaling = 16 / 3.0.squareRoot()

  private static func golden() throws -> [String: [Double]] {
    let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    let file = try SafetensorsFile(path: folder.appending(path: "Fixtures/starts/golden.safetensors").path())
    var tensors: [String: [Double]] = [:]
    for tensor in file.tensors { tensors[tensor.name] = try tensor.toFloat().map(Double.init) }
    return tensors
  }

  private static func input(_ golden: [String: [Double]]) throws -> AdapterModuleInput {
    AdapterModuleInput(
      name: "m", rows: rows, columns: columns, rank: rank, scaling: scaling,
      weight: try #require(golden["weight"]).map { Float($0) }, gradient: try #require(golden["gradient"]).map { Float($0) })
  }

  private static func update(_ factors: AdapterFactors) -> Dense {
    (Dense(factors.b, rows, rank) * Dense(factors.a, rank, columns)).scaled(scaling)
  }

  /// s·B·A, which no choice of signs changes. Both sides decompose in binary32, whose error in a part of a spectrum is some units times the largest singular value over the
  /// gap to the next: below 1e-5 of the part here, MiLoRA's last three (2.2 % of the first) below 5e-5.
  @Test(arguments: [("pissa", 1e-5), ("olora", 1e-5), ("milora", 5e-5), ("lora-one", 1e-5)])
  func products(_ name: String, _ tolerance: Double) throws {
    let golden = try Self.golden()
    let type = try #require(AdapterStarts.all.first { $0.name == name })
    let product = Self.update(try type.init(StartSettings()).factors(for: try Self.input(golden), seed: 0))
    let expected = Dense(try #require(golden[name]), Self.rows, Self.columns)
    #expect((product - expected).norm < tolerance * expected.norm, "\((product - expected).norm / expected.norm)")
  }

  /// A's rows and B's columns, each up to its sign. PEFT's own decomposition is a randomised one of four rounds, 1e-4, and that of the
  /// weight follows no spare directions: 5e-4 in the length that it gives.
  @Test(arguments: LoRAGAStart.Variant.allCases, [GradientDirections.arB2r, .a2rBr, .arBr])
  func loraGA(_ variant: LoRAGAStart.Variant, _ direction: GradientDirections) throws {
    let golden = try Self.golden()
    for scale in GradientScale.allCases {
      var settings = StartSettings()
      (settings.variant, settings.direction, settings.scale) = (variant, direction, scale)
      let factors = try LoRAGAStart(settings).factors(for: try Self.input(golden), seed: 0)
      let name = "lora-ga/\(variant.rawValue)/\(direction.rawValue)/\(scale.rawValue)"
      let tolerance = variant == .peft && scale == .weight ? 5e-4 : 1e-4
      let a = (Dense(factors.a, Self.rank, Self.columns), Dense(try #require(golden["\(name)/a"]), Self.rank, Self.columns))
      let b = (Dense(factors.b, Self.rows, Self.rank), Dense(try #require(golden["\(name)/b"]), Self.rows, Self.rank))
      for (lines, expected) in [a, (b.0.transposed, b.1.transposed)] {
        // Equal up to the sign: as long, and their product is the square of that length.
        let (products, own, squares) = (lines * expected.transposed, lines * lines.transposed, expected * expected.transposed)
        for i in 0..<Self.rank {
          #expect(abs(abs(products[i, i]) / squares[i, i] - 1) < tolerance, "\(name): \(products[i, i] / squares[i, i])")
          #expect(abs(own[i, i] / squares[i, i] - 1) < tolerance, "\(name): \(own[i, i] / squares[i, i])")
        }
      }
    }
  }

  /// Random halves: the official ones are disjoint, so that A's and B's directions never meet in G; PEFT's are one half.
  @Test(arguments: LoRAGAStart.Variant.allCases) func randomHalves(_ variant: LoRAGAStart.Variant) throws {
    let golden = try Self.golden()
    let input = try Self.input(golden)
    let gradient = Dense(try #require(golden["gradient"]), Self.rows, Self.columns)
    var settings = StartSettings()
    (settings.variant, settings.direction, settings.scale) = (variant, .random, .unit)
    var chosen: Set<[Int]> = []
    for seed in 0..<8 {
      let factors = try LoRAGAStart(settings).factors(for: input, seed: UInt64(seed))
      let (a, b) = (Dense(factors.a, Self.rank, Self.columns), Dense(factors.b, Self.rows, Self.rank))
      // Bᵀ·G·Aᵀ is diag(σ) for one half, times B's own σ, and 0 for two.
      let middle = b.transposed * gradient * a.transposed
      // The singular values 3e-3·0.75^i of the directions that A has.
      let image = gradient * a.transposed
      let values = (image.transposed * image)
      let numbers = (0..<Self.rank).map { Int((log(values[$0, $0].squareRoot() / 3e-3) / log(0.75)).rounded()) }
      #expect(numbers.allSatisfy { 0..<2 * Self.rank ~= $0 } && Set(numbers).count == Self.rank)
      chosen.insert(numbers)
      for i in 0..<Self.rank {
        let value = 3e-3 * pow(0.75, Double(numbers[i]))
        #expect(abs(middle[i, i] - (variant == .peft ? value * value : 0)) < 1e-5 * value, "\(middle[i, i])")
      }
    }
    #expect(chosen.count > 1)
  }

  /// OLoRA's factors themselves, by the convention of a positive diagonal: B orthonormal, A upper triangular.
  @Test func oloraConvention() throws {
    let factors = try OLoRAStart().factors(for: try Self.input(try Self.golden()), seed: 0)
    let b = Dense(factors.b, Self.rows, Self.rank)
    let gram = b.transposed * b
    for i in 0..<Self.rank {
      for j in 0..<Self.rank { #expect(abs(gram[i, j] - (i == j ? 1 : 0)) < 1e-6) }
      for j in 0..<i { #expect(factors.a[i * Self.columns + j] == 0) }
      #expect(factors.a[i * Self.columns + i] > 0)
    }
  }

  @Test(arguments: ["pissa", "milora", "olora", "lora-ga", "lora-one", "gora-svd", "gora"])
  func nonFiniteIsRefused(_ name: String) throws {
    let type = try #require(AdapterStarts.all.first { $0.name == name })
    var input = try Self.input(try Self.golden())
    input.weight?[7] = .nan
    input.gradient?[7] = .infinity
    let error = #expect(throws: GoraError.self) { try type.init(StartSettings()).factors(for: input, seed: 0) }
    #expect(error?.status == .data)
  }
}
