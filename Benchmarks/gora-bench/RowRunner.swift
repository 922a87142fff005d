import Glibc
import GoraCore
import GoraFormats

/// What one process has shown of a row.
struct RowRun {
  var tokensPerSecond: Double
  var peakBytes: Int
  var peakAnonymousBytes: Int
  /// What gora said it would hold: its own memory, and mapped weights; nil where it does not say.
  var estimate: (total: Int, anonymous: Int)?
}

/// A row with all its runs.
struct RowResult {
  var row: Row
  /// Multiplications and additions a token.
  var operationsPerToken: Double
  var gora: [RowRun] = []
  var peer: [RowRun] = []

  var speed: Sample { Sample(gora.map(\.tokensPerSecond)) }
  var peerSpeed: Sample { Sample(peer.map(\.tokensPerSecond)) }
  /// Of each pair: what the machine does to both at the same time cancels.
  var ratio: Sample { Sample(zip(gora, peer).map { $0.tokensPerSecond / $1.tokensPerSecond }) }
  var peak: Sample { Sample(gora.map { Double($0.peakBytes) }) }
  var peerPeak: Sample { Sample(peer.map { Double($0.peakBytes) }) }
  var anonymousPeak: Sample { Sample(gora.map { Double($0.peakAnonymousBytes) }) }
  /// Estimated over measured peak.
  var estimateOverPeak: Double {
    Sample(gora.compactMap { run in run.estimate.map { Double($0.total) / Double(run.peakBytes) } }).median
  }
  /// The same for anonymous memory alone.
  var anonymousEstimateOverPeak: Double {
    Sample(gora.compactMap { run in run.estimate.map { Double($0.anonymous) / Double(max(1, run.peakAnonymousBytes)) } }).median
  }
  /// Operations a second.
  var operationRate: Double { speed.median * operationsPerToken }
  /// Weights that are read for each token: generation goes through all of them for one token a prompt.
  var weightBytesPerToken: Double {
    if row.work != .generate { return 0 }
    return Double(row.preset.parameters * (row.isBFloat16 ? 2 : 4)) / Double(row.batch)
  }

  /// The operations a second over the highest rate of products of the row's kind.
  func shareOfBest(_ floor: Floor) -> Double {
    floor.bestRate(isBFloat16: row.isBFloat16).map { operationRate / $0 } ?? .nan
  }

  /// The speed over that of a machine that multiplies and reads memory at the floor's rates and does nothing else.
  func shareOfFloor(_ floor: Floor, threads: Int) -> Double {
    guard let rate = floor.rate(row.preset, isBFloat16: row.isBFloat16, threads: threads),
      let read = floor.readRates.first(where: { $0.threads == threads })?.bytesPerSecond
    else { return .nan }
    return speed.median * max(operationsPerToken / rate, weightBytesPerToken / read)
  }

  var json: JSON {
    .object([
      "name": JSON(row.name), "model": JSON(row.preset.name), "dtype": JSON(row.dtype), "batch": JSON(row.batch),
      "tokens": JSON(row.tokens), "steps": JSON(row.steps), "least": JSON(row.target.least), "aim": JSON(row.target.aim),
      "operations_per_token": JSON(operationsPerToken), "tokens_per_second": speed.json,
      "peer_tokens_per_second": peer.isEmpty ? nil : peerSpeed.json, "ratio": peer.isEmpty ? nil : ratio.json,
      "peak_bytes": peak.json, "peer_peak_bytes": peer.isEmpty ? nil : peerPeak.json,
      "peak_anonymous_bytes": anonymousPeak.json, "estimate_over_peak": finite(estimateOverPeak),
      "estimate_over_anonymous_peak": finite(anonymousEstimateOverPeak), "gflops": finite(operationRate / 1e9),
    ])
  }
}

/// Runs a row's programs, ours and the peer's in turn.
struct RowRunner {
  let workplace: Workplace
  /// The peer's python and script.
  let peer: (python: String, script: String)?
  let pairs: Int
  /// A folder with real rows.
  let data: String?

  /// - Returns: nil for a row of real rows where there are none.
  func run(_ row: Row) throws(GoraError) -> RowResult? {
    var rows = ""
    var batches: [[Operations.Sequence]] = []
    let steps = row.steps + 1
    if row.usesRealRows {
      guard let data else {
        workplace.say("\(row.name): skipped; --data names no folder with gsm8k/train.jsonl and tokenizers/llama2/tokenizer.json")
        return nil
      }
      let real = try workplace.gsm8kRows(steps * row.batch, data: data)
      rows = real.path
      batches = (0..<steps).map { Array(real.lengths[$0 * row.batch..<($0 + 1) * row.batch]) }
    } else if row.work == .generate {
      rows = try workplace.prompts(steps * row.batch, tokens: row.tokens)
    } else {
      rows = try workplace.randomRows(steps * row.batch, tokens: row.tokens, vocabulary: row.preset.vocabularySize)
      // The first token's label is not learnt.
      let sequence = Operations.Sequence(tokens: row.tokens, labelled: row.tokens - 1)
      batches = [[Operations.Sequence](repeating: sequence, count: row.batch)]
    }
    let model = try workplace.model(row.preset, dtype: row.dtype)
    let adapter = row.work == .train ? try workplace.adapter(model) : ""
    var result = RowResult(row: row, operationsPerToken: operationsPerToken(row, batches))
    for pair in 1...pairs {
      result.gora.append(try gora(row, model: model, adapter: adapter, rows: rows))
      if let peer { result.peer.append(try self.peer(row, peer, model: model, rows: rows)) }
      let ratio = result.ratio.values.last.map { ", \(fixed($0, 2)) times the peer" } ?? ""
      workplace.say("\(row.name) \(pair)/\(pairs): \(fixed(result.speed.values[pair - 1], 0)) tokens/s\(ratio)")
    }
    return result
  }

  private func operationsPerToken(_ row: Row, _ batches: [[Operations.Sequence]]) -> Double {
    if row.work == .generate {
      let all = Operations.generation(row.preset, prompts: row.batch, length: row.tokens, new: Row.newTokens)
      return all.total / Double(row.batch * Row.newTokens)
    }
    let counts = batches.map { batch in
      row.work == .grad
        ? Operations.gradients(row.preset, batch) : Operations.adapterTraining(row.preset, batch, rank: Row.rank)
    }
    let tokens = batches.reduce(0) { $0 + $1.reduce(0) { $0 + $1.tokens } }
    return counts.reduce(0) { $0 + $1.total } / Double(tokens)
  }

  private func gora(_ row: Row, model: String, adapter: String, rows: String) throws(GoraError) -> RowRun {
    let common = ["--model", model, "--data", rows, "--dtype", row.dtype, "--batch-size", "\(row.batch)", "--json"]
    let steps = "\(row.steps + 1)"
    let folder = workplace.folder
    // A run of a bench before that did not end would be gone on with.
    unlink("\(folder)/tuned/checkpoint/state.safetensors")
    let arguments =
      switch row.work {
      case .grad:
        workplace.tool("grad", common + ["--steps", steps, "--no-shuffle", "-o", "\(folder)/grad.h5"])
      case .train:
        workplace.tool("train", [adapter] + common + ["--max-steps", steps, "--no-shuffle", "-o", "\(folder)/tuned"])
      case .generate:
        workplace.tool(
          "eval", common + ["--task", "gsm8k", "--max-new-tokens", "\(Row.newTokens)", "-o", "\(folder)/result.json"])
      }
    let child = try workplace.children.run(arguments)
    // gora-eval's summary has several lines: it is the whole output.
    let summary = try child.json("gora-\(row.work.rawValue)")
    if row.work == .generate {
      let made = try summary.required("new_tokens").int
      let wanted = (row.steps + 1) * row.batch * Row.newTokens
      guard made == wanted else { throw GoraError(.internal, "\(row.name): \(made) tokens generated; expected \(wanted)") }
    }
    var run = RowRun(
      tokensPerSecond: try summary.required("steady_tokens_per_second").double, peakBytes: child.peakBytes,
      peakAnonymousBytes: child.peakAnonymousBytes)
    if let estimate = try summary.optional("estimate") {
      run.estimate = (try estimate.required("memory_bytes").int, try estimate.required("anonymous_bytes").int)
    }
    return run
  }

  private func peer(_ row: Row, _ peer: (python: String, script: String), model: String, rows: String) throws(GoraError) -> RowRun
  {
    var arguments = [
      peer.python, peer.script, row.work.rawValue, "--model", model, "--batch", "\(row.batch)", "--dtype", row.dtype, "--steps",
      "\(row.steps)", "--threads", "\(workplace.threads)",
    ]
    switch row.work {
    case .generate: arguments += ["--prompt-len", "\(row.tokens)", "--new", "\(Row.newTokens)"]
    case .grad, .train:
      // Rows of one length need neither padding nor mask: the peer makes its own.
      arguments += ["--rank", "\(Row.rank)"] + (row.usesRealRows ? ["--data", rows] : ["--seq", "\(row.tokens)"])
    }
    let child = try workplace.children.run(arguments)
    return RowRun(
      tokensPerSecond: try child.json("the peer").required("tokens_per_s").double, peakBytes: child.peakBytes,
      peakAnonymousBytes: child.peakAnonymousBytes)
  }
}
