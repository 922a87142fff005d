import GoraCore
import GoraMethods
import Testing

/// The starts that take their product from the weight: PiSSA, LoRA-GA, and GoRA's SVD variant.
@Suite struct ResidualStartTests {
  /// Σ values[i]·uᵢ·vᵢᵀ [rows, columns] with orthonormal u and v of our own making: the answer is known.
  private func spectrum(_ values: [Double], rows: Int, columns: Int) -> (matrix: [Float], u: Dense, v: Dense) {
    func basis(_ size: Int, _ stream: String) -> Dense {
      // Gram–Schmidt, twice.
      var random = Random(seed: 7, stream: stream)
      var lines: [[Double]] = []
      for _ in values {
        var line = (0..<size).map { _ in random.normal() }
        for _ in 0..<2 {
          for other in lines {
            let inner = zip(line, other).reduce(0) { $0 + $1.0 * $1.1 }
            for i in line.indices { line[i] -= inner * other[i] }
          }
        }
        let norm = line.reduce(0) { $0 + $1 * $1 }.squareRoot()
        lines.append(line.map { $0 / norm })
      }
      return Dense(lines.flatMap { $0 }, values.count, size)
    }
    let (u, v) = (basis(rows, "u"), basis(columns, "v"))
    var scaled = u
    for i in values.indices { for j in 0..<rows { scaled.values[i * rows + j] *= values[i] } }
    return ((scaled.transposed * v).floats, u, v)
  }

  private func rows(_ matrix: Dense, _ range: Range<Int>) -> Dense {
    Dense(
      Array(matrix.values[range.lowerBound * matrix.columns..<range.upperBound * matrix.columns]), range.count, matrix.columns)
  }

  private func isOrthogonal(_ m: Dense, length: Double) -> Bool {
    let gram = m * m.transposed
    return (0..<m.rows).allSatisfy { i in
      (0..<m.rows).allSatisfy { j in abs(gram[i, j] - (i == j ? length * length : 0)) < 1e-4 * length * length }
    }
  }

  /// A's and B's rows and columns lie in the wanted directions: all of their energy does.
  private func lies(_ m: Dense, in directions: Dense) -> Bool {
    let inside = m * directions.transposed
    return abs(inside.norm / m.norm - 1) < 1e-5
  }

  @Test(arguments: [1e-6, 1, 1e4]) func pissaTakesTheFirstTriplets(_ size: Double) throws {
    let values = [9, 7, 5, 2, 1.5, 1, 0.5, 0.2].map { $0 * size }
    let (rows, columns, rank, scaling) = (40, 33, 3, 5.7)
    let (weight, u, v) = spectrum(values, rows: rows, columns: columns)
    let input = AdapterModuleInput(name: "m", rows: rows, columns: columns, rank: rank, scaling: scaling, weight: weight)
    let factors = try PiSSAStart().factors(for: input, seed: 0)
    let (a, b) = (Dense(factors.a, rank, columns), Dense(factors.b, rows, rank))
    // s·B·A is the weight's best approximation of that rank.
    var first = self.rows(u, 0..<rank)
    for i in 0..<rank { for j in 0..<rows { first.values[i * rows + j] *= values[i] } }
    let best = first.transposed * self.rows(v, 0..<rank)
    #expect(((b * a).scaled(scaling) - best).norm < 2e-5 * best.norm)
    // Each factor carries the root of the singular value over s.
    let gram = a * a.transposed
    for i in 0..<rank { #expect(abs(gram[i, i] / (values[i] / scaling) - 1) < 1e-4) }
    #expect(factors.diagnostics == nil)
  }

  @Test(arguments: [16.0, 64]) func gradientDirectionsAreDisjoint(_ stableGamma: Double) throws {
    let values = [9.0, 7, 5, 3.5, 2, 1.4, 0.5, 0.2].map { $0 * 1e-4 }
    let (rows, columns, rank) = (40, 33, 3)
    let (gradient, u, v) = spectrum(values, rows: rows, columns: columns)
    let input = AdapterModuleInput(name: "m", rows: rows, columns: columns, rank: rank, scaling: 5.7, gradient: gradient)
    let length = 40.0.squareRoot().squareRoot() / stableGamma.squareRoot()
    let (low, high) = (0..<rank, rank..<2 * rank)
    var settings = StartSettings()
    settings.stableGamma = stableGamma
    let starts: [(any AdapterStart, Range<Int>, Range<Int>)] = [
      (GoRASVDStart(settings), low, high), (LoRAGAStart(settings), high, low),
    ]
    for (start, left, right) in starts {
      let factors = try start.factors(for: input, seed: 0)
      let (a, b) = (Dense(factors.a, rank, columns), Dense(factors.b, rows, rank).transposed)
      #expect(isOrthogonal(a, length: length) && isOrthogonal(b, length: length))
      #expect(lies(a, in: self.rows(v, right)) && lies(b, in: self.rows(u, left)))
    }
  }

  @Test func twiceTheRankMustFit() throws {
    let input = AdapterModuleInput(
      name: "m", rows: 8, columns: 30, rank: 5, scaling: 1, gradient: (0..<240).map { Float($0 % 7) - 3 })
    let starts: [any AdapterStart] = [GoRASVDStart(), LoRAGAStart()]
    for start in starts {
      #expect { try start.factors(for: input, seed: 0) } throws: { ($0 as? GoraError)?.status == .data }
    }
  }

  @Test func whatEachStartLooksAt() {
    var byWeight = StartSettings()
    byWeight.scale = .weight
    var seen: Set<String> = []
    let all: [(any AdapterStart, Set<StartEvidence>, isResidual: Bool)] = [
      (LoRAStart(a: .kaiming), [], false), (LoRAStart(a: .gradientSVD), [.gradient], false),
      (GoRAStart(a: .weightSVD, gamma: 1), [.gradient, .weight, .weightNorm], false), (PiSSAStart(), [.weight], true),
      (MiLoRAStart(), [.weight], true), (OLoRAStart(), [.weight], true), (LoRAGAStart(), [.gradient], true),
      (LoRAGAStart(byWeight), [.gradient, .weight], true), (GoRASVDStart(), [.gradient], true),
      (LoRAOneStart(), [.gradient], false), (AdaLoRAStart(StartSettings()), [], false), (EVAStart(), [.inputs], false),
      (HeadStart(), [.displacement], false),
    ]
    for (start, needs, isResidual) in all {
      let type = type(of: start)
      #expect(start.needs == needs)
      let residual = type.isResidual
      #expect(residual == isResidual)
      seen.insert(type.name)
    }
    #expect(seen == Set(AdapterStarts.all.map { $0.name }))
  }
}
