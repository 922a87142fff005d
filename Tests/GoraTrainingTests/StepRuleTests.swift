import Glibc
import GoraCore
import GoraFormats
import GoraModels
import Testing

@testable import GoraTraining

/// Step rules beside float64 and PEFT (Fixtures/rules/make_fixtures.py).
@Suite struct StepRuleTests {
  init() throws {
    ThreadPool.start(threads: 2)
    try Matmul.open()
  }

  private static let (rank, rows, columns) = (2, 4, 5)

  private static func numbers(_ field: JSONField) throws -> [Float] { try field.elements.map { Float(try $0.double) } }

  private static func adapter(_ golden: JSONField) throws -> LowRankAdapter {
    LowRankAdapter(
      module: "m", rank: rank, scaling: Float(try golden.required("s").double),
      a: FloatBuffer(try numbers(golden.required("a"))), b: FloatBuffer(try numbers(golden.required("b"))), inputSize: columns,
      outputSize: rows)
  }

  /// g_A = s·Bᵀ·G and g_B = s·G·Aᵀ, for the factors that learn.
  private static func setGradients(_ adapter: LowRankAdapter, _ g: [Float]) throws {
    let (a, b) = (try #require(adapter.a.values).pointer, try #require(adapter.b.values).pointer)
    let s = Double(adapter.scaling)
    for i in 0..<rank {
      for j in 0..<columns {
        let sum = (0..<rows).reduce(0.0) { $0 + Double(b[$1 * rank + i]) * Double(g[$1 * columns + j]) }
        adapter.a.gradient?.pointer[i * columns + j] = Float(s * sum)
      }
    }
    for i in 0..<rows {
      for j in 0..<rank {
        let sum = (0..<columns).reduce(0.0) { $0 + Double(g[i * columns + $1]) * Double(a[j * columns + $1]) }
        adapter.b.gradient?.pointer[i * rank + j] = Float(s * sum)
      }
    }
  }

  /// The closed formulas beside a pseudo-inverse of the whole linear map: 1e-5, what binary32 leaves of factors and gradients.
  @Test func nearestPairOfGradients() throws {
    let golden = try Fixtures.json("rules/golden.json")
    let adapter = try Self.adapter(golden)
    adapter.a.gradient = FloatBuffer(zeros: Self.rank * Self.columns)
    adapter.b.gradient = FloatBuffer(zeros: Self.rows * Self.rank)
    try Self.setGradients(adapter, Self.numbers(try golden.required("gradients").elements[0]))
    let (a, b) = (try #require(adapter.a.gradient), try #require(adapter.b.gradient))
    EquivalentGradient(adapter).adjust(a: a, b: b)
    let nearest = try golden.required("nearest")
    #expect(relativeError(a.array, try Self.numbers(nearest.required("a"))) < 1e-5)
    #expect(relativeError(b.array, try Self.numbers(nearest.required("b"))) < 1e-5)
  }

  /// Three steps. Moments and factors are binary32; an update of 3e-3 a step stands in factors of 0.5 with 7 digits: 1e-5. What
  /// changed is looked at, not the whole factor: 1e-4.
  @Test(arguments: ["lora-pro", "lora-pro-light", "lora-fa-proj", "soap"]) func threeSteps(_ name: String) throws {
    let golden = try Fixtures.json("rules/golden.json")
    let rule = try #require(StepRules.all.first { $0.name == name })
    let adapter = try Self.adapter(golden)
    let decay = try golden.required("weight_decay").double
    let optimizer = rule.optimizer(
      [adapter], StepSettings(ratio: try golden.required("ratio").double, weightDecay: decay))
    #expect(optimizer.parameters.map(\.name) == rule.learns(adapter).map(\.name))
    #expect(
      optimizer.state.filter { !$0.name.hasPrefix("value/") }.reduce(0) { $0 + $1.count } == rule.stateFloats([adapter]))
    _ = GradientSums(of: optimizer.parameters, blocks: [])
    for gradient in try golden.required("gradients").elements {
      try Self.setGradients(adapter, Self.numbers(gradient))
      optimizer.update(lr: try golden.required("lr").double, gradientScale: 1)
    }
    let expected = try golden.required(name)
    for (parameter, key) in [(adapter.a, "a"), (adapter.b, "b")] {
      let start = try Self.numbers(golden.required(key))
      let got = zip(try #require(parameter.values).array, start).map { $0 - $1 }
      let want = zip(try Self.numbers(expected.required(key)), start).map { $0 - $1 }
      if key == "a", name == "lora-fa-proj" {
        #expect(got.allSatisfy { $0 == 0 })
      } else {
        #expect(relativeError(got, want) < 1e-4, "\(key): \(relativeError(got, want))")
      }
    }
  }

  /// From B = 0, where Bᵀ·B has no inverse: the first step is finite, A stays, and s·B·A goes down the gradient.
  @Test(arguments: StepRules.all.filter { $0.trains(LoRAKind.self) }.map { $0.name }) func firstStepFromZero(_ name: String)
    throws
  {
    let golden = try Fixtures.json("rules/golden.json")
    let rule = try #require(StepRules.all.first { $0.name == name })
    let adapter = try Self.adapter(golden)
    try #require(adapter.b.values).zero()
    let optimizer = rule.optimizer([adapter], StepSettings(ratio: 1, weightDecay: 0))
    _ = GradientSums(of: optimizer.parameters, blocks: [])
    let gradient = try Self.numbers(golden.required("gradients").elements[0])
    try Self.setGradients(adapter, gradient)
    optimizer.update(lr: 1e-3, gradientScale: 1)
    let (a, b) = (try #require(adapter.a.values).array, try #require(adapter.b.values).array)
    let start = try Self.numbers(golden.required("a"))
    #expect(optimizer.isFinite && a == start)
    var slope = 0.0
    for i in 0..<Self.rows {
      for j in 0..<Self.columns {
        for k in 0..<Self.rank {
          slope += Double(b[i * Self.rank + k] * a[k * Self.columns + j] * gradient[i * Self.columns + j])
        }
      }
    }
    #expect(slope < 0)
  }

  /// Q·A and B·Qᵀ are the same product as A and B, and under soap stay so: after 20 steps along the same gradients of the weight the
  /// products differ by what binary32 leaves of eigenvectors whose values lie near each other, below 1e-3 of what was learnt. AdamW, whose
  /// steps depend on the basis, ends a third elsewhere: the test can tell them apart.
  @Test(arguments: [("soap", true), ("adamw", false)]) func basisOfTheRank(_ name: String, isFree: Bool) throws {
    let golden = try Fixtures.json("rules/golden.json")
    let rule = try #require(StepRules.all.first { $0.name == name })
    let gradients = try golden.required("gradients").elements.map { try Self.numbers($0) }
    func learnt(_ angle: Double) throws -> [Double] {
      let adapter = try Self.adapter(golden)
      let (a, b) = (try #require(adapter.a.values).pointer, try #require(adapter.b.values).pointer)
      let (c, s) = (cos(angle), sin(angle))
      func turn(_ x: UnsafeMutablePointer<Float>, _ first: Int, _ second: Int) {
        let (p, q) = (Double(x[first]), Double(x[second]))
        (x[first], x[second]) = (Float(c * p - s * q), Float(s * p + c * q))
      }
      for j in 0..<Self.columns { turn(a, j, Self.columns + j) }
      for i in 0..<Self.rows { turn(b, i * Self.rank, i * Self.rank + 1) }
      func product() -> [Double] {
        (0..<Self.rows * Self.columns).map { index in
          (0..<Self.rank).reduce(0.0) {
            $0 + Double(b[index / Self.columns * Self.rank + $1]) * Double(a[$1 * Self.columns + index % Self.columns])
          }
        }
      }
      let start = product()
      let optimizer = rule.optimizer([adapter], StepSettings(ratio: 1, weightDecay: 0))
      _ = GradientSums(of: optimizer.parameters, blocks: [])
      for step in 0..<20 {
        try Self.setGradients(adapter, gradients[step % gradients.count])
        optimizer.update(lr: 1e-2, gradientScale: 1)
      }
      return zip(product(), start).map { $0 - $1 }
    }
    let (plain, turned) = (try learnt(0), try learnt(0.7))
    let distance = zip(plain, turned).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
    let size = plain.reduce(0) { $0 + $1 * $1 }.squareRoot()
    #expect(isFree ? distance < 1e-3 * size : distance > 0.05 * size, "\(distance / size)")
  }

  /// Under LoRA-FA a model's A keeps its bits and costs nothing, and B learns as it does beside a learning A, for one step exactly.
  @Test func loraFAKeepsA() throws {
    let rows = try Fixtures.rows("llama")
    func run(_ rule: any StepRule.Type) throws -> (before: [[Float]], model: Decoder) {
      let model = try Fixtures.adapted("llama").model
      let before = model.adapters.map { $0.a.values?.array ?? [] }
      let optimizer = rule.optimizer(model.adapters, StepSettings(ratio: 16, weightDecay: 0))
      _ = try trainer(model, optimizer, rows: rows, steps: 1, lr: 1e-3).advance()
      return (before, model)
    }
    let (before, frozen) = try run(LoRAFARule.self)
    let (_, both) = try run(AdamWRule.self)
    for ((start, one), other) in zip(zip(before, frozen.adapters), both.adapters) {
      #expect(one.a.values?.array == start && one.a.gradient == nil && other.a.values?.array != start)
      #expect(one.b.gradient?.array == other.b.gradient?.array)
      #expect(one.b.values?.array == other.b.values?.array)
    }
  }
}
