import ArgumentParser
import CGoraKernels
import Glibc
import GoraCore
import GoraFormats

/// The rate of one matrix product x[tokens, in]·Wᵀ[in, out] by the library that gora uses.
struct ProductRate {
  var preset: String
  var tokens: Int
  var out: Int
  var `in`: Int
  var isBFloat16: Bool
  var threads: Int
  /// Multiplications and additions a second.
  var rate: Double

  var json: JSON {
    .object([
      "preset": JSON(preset), "tokens": JSON(tokens), "out": JSON(out), "in": JSON(`in`),
      "dtype": JSON(isBFloat16 ? "bf16" : "f32"),
      "threads": JSON(threads), "gflops": JSON(rate / 1e9),
    ])
  }

  init(preset: String, tokens: Int, out: Int, in: Int, isBFloat16: Bool, threads: Int, rate: Double) {
    (self.preset, self.tokens, self.out, self.in) = (preset, tokens, out, `in`)
    (self.isBFloat16, self.threads, self.rate) = (isBFloat16, threads, rate)
  }

  init(_ field: JSONField) throws(GoraError) {
    preset = try field.required("preset").string
    tokens = try field.required("tokens").int
    out = try field.required("out").int
    `in` = try field.required("in").int
    isBFloat16 = try field.required("dtype").string == "bf16"
    threads = try field.required("threads").int
    rate = try field.required("gflops").double * 1e9
  }
}

/// What the machine itself can do, in a process of its own: matrix products and reading memory.
struct FloorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "floor", abstract: "Measure the matrix products of some presets and print the rates as JSON.")

  @Option(help: "Threads.")
  var threads: Int
  @Option(parsing: .singleValue, help: "Preset and tokens a batch, such as 110m:512 (repeatable).")
  var shapes: [String]

  func run() throws {
    do throws(GoraError) {
      try measure()
    } catch {
      throw ValidationError(error.description)
    }
  }

  private func measure() throws(GoraError) {
    try Matmul.open()
    ThreadPool.start(threads: threads)
    var sizes = [("square", 512, 512, 512), ("square", 2048, 2048, 2048)]
    for shape in shapes {
      let parts = shape.split(separator: ":")
      guard parts.count == 2, let preset = ModelPreset.named(String(parts[0])), let tokens = Int(parts[1]), tokens > 0 else {
        throw GoraError(.usage, "--shapes \"\(shape)\"; expected such as 110m:512")
      }
      let linears = preset.linears.map { [$0.out, $0.in] } + [[preset.vocabularySize, preset.hiddenSize]]
      for (index, linear) in linears.enumerated() where !linears[..<index].contains(linear) {
        sizes.append((preset.name, tokens, linear[0], linear[1]))
      }
    }
    var rates: [JSON] = []
    for isBFloat16 in Matmul.hasBFloat16 ? [false, true] : [false] {
      for (preset, tokens, out, `in`) in sizes {
        let rate = Self.rate(tokens: tokens, out: out, in: `in`, isBFloat16: isBFloat16)
        rates.append(
          ProductRate(
            preset: preset, tokens: tokens, out: out, in: `in`, isBFloat16: isBFloat16, threads: ThreadPool.threads, rate: rate
          ).json)
      }
    }
    print(JSON.object(["products": JSON(rates), "read_bytes_per_second": JSON(Self.readRate())]).compact())
  }

  /// Median of at least three runs and 0.2 s.
  private static func rate(tokens: Int, out: Int, in columns: Int, isBFloat16: Bool) -> Double {
    // bf16 takes half of the floats' room.
    let x = FloatBuffer(zeros: tokens * columns)
    let w = FloatBuffer(zeros: out * columns)
    let y = FloatBuffer(zeros: tokens * out)
    // Zeros would be a special case for the power that a core draws.
    for buffer in [x, w] { for i in 0..<buffer.count { buffer.pointer[i] = 0.01 + Float(i & 0xFF) * 1e-4 } }
    let parts = ThreadPool.threads
    let step = ((out + parts - 1) / parts + 15) / 16 * 16
    func multiply() {
      guard isBFloat16 else {
        return Matmul.sgemm(
          transposeB: true, m: tokens, n: out, k: columns, a: x.pointer, lda: columns, b: w.pointer, ldb: columns, c: y.pointer,
          ldc: out)
      }
      nonisolated(unsafe) let (a, b, c) = (
        UnsafeRawPointer(x.pointer).assumingMemoryBound(to: UInt16.self),
        UnsafeRawPointer(w.pointer).assumingMemoryBound(to: UInt16.self), y.pointer
      )
      parallelParts(parts) { part in
        let from = part * step
        guard from < out else { return }
        gora_bf16_gemm(
          false, true, Int64(tokens), Int64(min(step, out - from)), Int64(columns), a, Int64(columns), b + from * columns,
          Int64(columns), false, c + from, Int64(out))
      }
    }
    multiply()
    var sample = Sample()
    let start = ContinuousClock.now
    while sample.values.count < 3 || start.duration(to: .now) < .milliseconds(200) {
      let before = ContinuousClock.now
      multiply()
      sample.append(2 * Double(tokens * out) * Double(columns) / seconds(since: before))
    }
    return sample.median
  }

  /// Bytes a second that all threads together read from memory, of 1 GiB.
  private static func readRate() -> Double {
    let bytes = 1 << 30
    let buffer = FloatBuffer(zeros: bytes / 4)
    var sample = Sample()
    for _ in 0..<5 {
      let before = ContinuousClock.now
      nonisolated(unsafe) let start = UnsafeRawPointer(buffer.pointer)
      // A byte that is not there: the C library reads as fast as the machine does. Its answer is used, or nothing would be read.
      parallelRanges(bytes, grain: 1 << 20, alignment: 64) { range in
        precondition(memchr(start + range.lowerBound, 0xFF, range.count) == nil, "the buffer is zeros")
      }
      sample.append(Double(bytes) / seconds(since: before))
    }
    withExtendedLifetime(buffer) {}
    return sample.median
  }
}

func seconds(since start: ContinuousClock.Instant) -> Double {
  let elapsed = start.duration(to: .now).components
  return max(1e-9, Double(elapsed.seconds) + Double(elapsed.attoseconds) * 1e-18)
}

/// The machine's rates, as measured by `gora-bench floor`.
struct Floor {
  var products: [ProductRate] = []
  /// By threads.
  var readRates: [(threads: Int, bytesPerSecond: Double)] = []

  /// - Parameter shapes: presets with the tokens of their batches.
  static func measured(
    _ children: ChildRunner, program: String, shapes: [(preset: String, tokens: Int)], threads: [Int]
  ) throws(GoraError) -> Floor {
    var floor = Floor()
    for count in threads {
      let arguments = shapes.flatMap { ["--shapes", "\($0.preset):\($0.tokens)"] }
      let result = try children.run([program, "floor", "--threads", "\(count)"] + arguments).json("gora-bench floor")
      for product in try result.required("products").elements { floor.products.append(try ProductRate(product)) }
      floor.readRates.append((count, try result.required("read_bytes_per_second").double))
    }
    return floor
  }

  /// The highest rate of products of that kind, of all shapes and numbers of threads. In f32 where the machine has no rate for bf16; nil
  /// where nothing was measured.
  func bestRate(isBFloat16: Bool) -> Double? {
    let own = products.filter { $0.isBFloat16 == isBFloat16 }
    return (own.isEmpty && isBFloat16 ? products : own).map(\.rate).max()
  }

  /// The rate at which a model's products could run: its shapes' rates, weighted by their work. In f32 where the machine has no
  /// rate for bf16; nil where nothing was measured.
  func rate(_ preset: ModelPreset, isBFloat16: Bool, threads: Int) -> Double? {
    var linears = preset.linears.map { ($0.out, $0.in, Double(preset.layers)) }
    linears.append((preset.vocabularySize, preset.hiddenSize, 1))
    for wanted in isBFloat16 ? [true, false] : [false] {
      var (work, time) = (0.0, 0.0)
      for (out, columns, times) in linears {
        guard
          let product = products.first(where: {
            $0.preset == preset.name && $0.out == out && $0.in == columns && $0.isBFloat16 == wanted && $0.threads == threads
          })
        else { continue }
        let size = Double(out * columns) * times
        work += size
        time += size / product.rate
      }
      if time > 0 { return work / time }
    }
    return nil
  }

  /// Rates measured twice: each product's mean, and how far apart the two were.
  func averaged(with later: Floor) -> (floor: Floor, change: Sample) {
    var (mean, change) = (self, Sample())
    for index in products.indices where index < later.products.count {
      let pair = Sample([products[index].rate, later.products[index].rate])
      mean.products[index].rate = pair.median
      change.append(pair.spread)
    }
    return (mean, change)
  }

  var json: JSON {
    .object([
      "products": JSON(products.map(\.json)),
      "read": JSON(
        readRates.map { .object(["threads": JSON($0.threads), "bytes_per_second": JSON($0.bytesPerSecond)]) }),
    ])
  }
}
