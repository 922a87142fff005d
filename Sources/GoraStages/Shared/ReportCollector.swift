import GoraCore
import GoraFormats
import GoraReport

/// Sorts inputs into runs by where they lie: what is in one folder is of one run.
struct ReportCollector {
  private(set) var data = ReportData()
  /// The folder that everything is in.
  let title: String
  /// Its parts.
  private let common: [String]

  /// Names that say what a file is, not which run it is of.
  private static let usual: Set<String> = ["plan", "scores", "grad", "metrics", "result", "loss", "init", "tuned", "adapter"]

  init(_ inputs: [ReportInput]) {
    let used = inputs.filter { if case .skipped = $0.content { false } else { true } }
    let folders = used.map { Self.parts($0.path).dropLast() }
    var shared = folders.first.map(Array.init) ?? []
    for folder in folders { shared = zip(shared, folder).prefix { $0 == $1 }.map(\.0) }
    common = shared
    title = !shared.isEmpty ? shared.joined(separator: "/") : used.count == 1 ? used[0].path : "\(used.count) files"
    for input in used { add(input) }
    collectCosts(used)
  }

  private static func parts(_ path: String) -> [String] {
    path.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
  }

  /// `grad` of `a/b/grad.h5`.
  private static func stem(_ name: String) -> String {
    guard let dot = name.firstIndex(of: "."), dot != name.startIndex else { return name }
    return String(name[..<dot])
  }

  /// What a run in the common folder itself is called.
  private var lastCommon: String { common.last { !$0.isEmpty && $0 != "." && $0 != ".." } ?? "run" }

  /// The folder below the common one, with the file's own name where that is not one of the usual.
  private func run(_ path: String) -> RunLabel {
    var rest = Array(Self.parts(path).dropFirst(common.count))
    let name = Self.stem(rest.popLast() ?? "")
    if !Self.usual.contains(name) { rest.append(name) }
    return RunLabel(rest.isEmpty ? lastCommon : rest.joined(separator: "/"))
  }

  /// Has differences taken to the method of this name.
  /// - Throws: status 64 where no rates were tried for such a one.
  mutating func compare(with baseline: String?) throws(GoraError) {
    guard let baseline else { return }
    let methods = data.rates.map(\.tried.run.method)
    guard methods.contains(baseline) else {
      let known = Set(methods).sorted().joined(separator: ", ")
      throw GoraError(
        .usage, "no results of \"\(baseline)\" at several rates to compare with",
        hint: known.isEmpty ? "folders like lr-1e-3 hold the results of a rate" : "there are: \(known)")
    }
    data.baseline = baseline
  }

  /// Results that are told of; the others choose what is told of.
  private static let told: Set<String> = ["test", "answers"]

  private static func name(_ path: String) -> String { stem(parts(path).last ?? "") }

  /// What is in a folder like `lr-1e-3`, or below it; nil elsewhere.
  private func tried(_ path: String) -> TriedRun? {
    TriedRun(Self.parts(path).dropFirst(common.count).dropLast() + [], otherwise: lastCommon)
  }

  private mutating func add(_ result: ResultRecord, at tried: TriedRun, isTold: Bool) {
    let i = data.rates.firstIndex { $0.tried == tried } ?? data.rates.count
    if i == data.rates.count { data.rates.append(RateRecord(tried: tried)) }
    if isTold {
      data.rates[i].test = data.rates[i].test ?? result.loss
      data.rates[i].accuracy = data.rates[i].accuracy ?? result.accuracy
    } else {
      data.rates[i].validation = data.rates[i].validation ?? result.loss
    }
  }

  private mutating func add(_ input: ReportInput) {
    let run = run(input.path)
    switch input.content {
    case .plan(let plan):
      data.plans.append(
        PlanRecord(
          run: run, referenceRank: plan.referenceRank,
          modules: plan.modules.map { .init(name: $0.name, shape: $0.shape, rank: $0.rank) }))
    case .scores(let table):
      data.scores.append(
        ScoreRecord(run: run, metric: table.metric, modules: table.modules.map { ($0.name, $0.importance) }))
    case .gradients(let steps, let track):
      data.trajectories.append(
        TrajectoryRecord(
          run: run, quantity: .runningImportance, steps: steps.loss.indices.map { Double($0 + 1) }, modules: steps.importance))
      if let track {
        data.trajectories.append(
          TrajectoryRecord(
            run: run, quantity: .trackedImportance, steps: track.steps.map(Double.init), modules: track.importance))
      }
    case .metrics(let lines):
      data.losses.append(
        LossRecord(
          run: run, training: lines.compactMap { line in line.loss.map { Point(line.step, $0) } },
          validation: lines.compactMap { line in line.validationLoss.map { Point(line.step, $0) } }))
      add(RateSearchRecord(run: run, trials: lines.compactMap(\.trial), found: lines.compactMap(\.found).last))
    case .adapter(let header):
      // The adapter's own training, not one before it.
      if let search = header.provenance.records.last?["lr_search"] {
        let trials = (search["trials"]?.elements ?? []).compactMap(TrialRecord.reported)
        add(RateSearchRecord(run: run, trials: trials, found: search["lr"]?.number))
      }
      // Some starts stay as they are beside what is trained.
      let frozen = Self.document(header, "gora_frozen_ranks")
      let modules = header.modules.map { module in
        let rest = (try? frozen?.optional(module.name)?.int) ?? 0
        return PlanRecord.Module(name: module.name, shape: module.shape, rank: max(0, module.rank - max(0, rest)))
      }
      // What is said of the start stays with an adapter through training: init/ and tuned/ say the same.
      let isKnown = data.adapters.contains { $0.run == run && !$0.starts.isEmpty }
      data.adapters.append(AdapterRecord(run: run, modules: modules, starts: isKnown ? [] : Self.starts(header)))
    case .result(let root):
      let bounds = try? root.optional("interval")?.elements.map { element throws(GoraError) in try element.double }
      let interval = bounds.flatMap { $0.count == 2 && $0[0] <= $0[1] ? $0[0]...$0[1] : nil }
      var result = ResultRecord(
        run: run, rows: (try? root.optional("rows")?.int) ?? 0, accuracy: try? root.optional("accuracy")?.double,
        interval: interval, loss: try? root.optional("loss")?.double)
      result.confusion = Self.confusion(root)
      if let tried = tried(input.path) {
        add(result, at: tried, isTold: Self.told.contains(Self.name(input.path)))
      } else {
        add(result)
      }
    case .seconds, .peakBytes, .skipped: break
    }
  }

  /// Answers and loss of one run may have been measured by two commands.
  private mutating func add(_ result: ResultRecord) {
    let other = data.results.firstIndex {
      $0.run == result.run && ($0.accuracy == nil || result.accuracy == nil) && ($0.loss == nil || result.loss == nil)
    }
    guard let other else { return data.results.append(result) }
    data.results[other].loss = data.results[other].loss ?? result.loss
    data.results[other].confusion = data.results[other].confusion ?? result.confusion
    if result.accuracy != nil {
      data.results[other].accuracy = result.accuracy
      data.results[other].interval = result.interval
      data.results[other].rows = result.rows
    }
  }

  /// A run's log and its adapter tell of one search.
  private mutating func add(_ search: RateSearchRecord) {
    if search.trials.isEmpty || data.searches.contains(search) { return }
    data.searches.append(search)
  }

  /// Commands of one stage take their time one after another.
  private mutating func add(_ cost: CostRecord) {
    guard let other = data.costs.firstIndex(where: { $0.run == cost.run && $0.stage == cost.stage }) else {
      return data.costs.append(cost)
    }
    let before = data.costs[other]
    if let seconds = cost.seconds { data.costs[other].seconds = (before.seconds ?? 0) + seconds }
    if let memory = cost.memory { data.costs[other].memory = max(before.memory ?? 0, memory) }
  }

  /// A JSON text in the metadata of an adapter's weights; nil where there is none.
  private static func document(_ header: AdapterHeader, _ key: String) -> JSONField? {
    guard let text = header.metadata.first(where: { $0.key == key })?.value else { return nil }
    return (try? JSONDocument(path: key, text: Array(text.utf8)))?.root
  }

  private static func confusion(_ root: JSONField) -> ResultRecord.Confusion? {
    let names = try? root.optional("classes")?.elements.map { element throws(GoraError) in try element.required("class").string }
    let counts = try? root.optional("confusion")?.elements.map { row throws(GoraError) in
      try row.elements.map { count throws(GoraError) in try count.double }
    }
    guard let names, let counts else { return nil }
    return ResultRecord.Confusion(classes: names, counts: counts)
  }

  private static func starts(_ header: AdapterHeader) -> [AdapterRecord.Start] {
    guard let modules = try? document(header, "gora_start")?.optional("by_module")?.members else { return [] }
    return modules.map { name, start in
      func number(_ key: String) -> Double? { try? start.optional(key)?.double }
      return AdapterRecord.Start(
        module: name, captured: number("captured"), cosine: number("cosine"), normRatio: number("norm_ratio"))
    }
  }

  // MARK: Cost

  /// A stage's cost lies beside what it wrote. What several runs were made from, a gradient or its scores, lies in a folder above
  /// them, and counts for each run that came through that tool.
  private mutating func collectCosts(_ inputs: [ReportInput]) {
    var tools: [String: [String]] = [:]
    for input in inputs where !input.tools.isEmpty { tools[input.path] = input.tools }
    var costs: [(folder: [String], run: RunLabel, stage: String, seconds: Double?, memory: Double?)] = []
    for input in inputs {
      var (seconds, memory): (Double?, Double?) = (nil, nil)
      var target = input.path
      switch input.content {
      case .seconds(let value): (seconds, target) = (value, String(target.dropLast(".seconds".count)))
      case .peakBytes(let value): (memory, target) = (value, String(target.dropLast(".peak".count)))
      default: continue
      }
      if target.hasSuffix("/adapter_config.json") { target = String(target.dropLast("/adapter_config.json".count)) }
      let folder = Array(Self.parts(target).dropLast())
      costs.append((folder, run(target), Self.stage(target, tools[target]), seconds, memory))
    }
    // Which tools the results in a folder came through.
    var through: [(folder: [String], run: RunLabel, tools: Set<String>)] = []
    for input in inputs {
      let folder = Array(Self.parts(input.path).dropLast())
      switch input.content {
      case .plan, .adapter, .result: break
      default: continue
      }
      let stages = Set(input.tools.map(Self.stageName))
      if let i = through.firstIndex(where: { $0.folder == folder }) {
        through[i].tools.formUnion(stages)
      } else {
        through.append((folder, run(input.path), stages))
      }
    }
    var inherited: Set<Int> = []
    for user in through {
      for (i, cost) in costs.enumerated()
      where cost.folder.count < user.folder.count && user.folder.starts(with: cost.folder) && user.tools.contains(cost.stage)
        && cost.stage != "eval" && !costs.contains(where: { $0.folder == user.folder && $0.stage == cost.stage })
      {
        inherited.insert(i)
        add(CostRecord(run: user.run, stage: cost.stage, seconds: cost.seconds, memory: cost.memory))
      }
    }
    for (i, cost) in costs.enumerated() where !inherited.contains(i) {
      add(CostRecord(run: cost.run, stage: cost.stage, seconds: cost.seconds, memory: cost.memory))
    }
  }

  private static func stageName(_ tool: String) -> String { tool.hasPrefix("gora-") ? String(tool.dropFirst(5)) : tool }

  /// By the record of the tool that wrote it, else by its name.
  private static func stage(_ path: String, _ tools: [String]?) -> String {
    if let tool = tools?.last { return stageName(tool) }
    let name = stem(parts(path).last ?? "")
    let byName = [
      "grad": "grad", "scores": "score", "plan": "plan", "init": "init", "tuned": "train", "result": "eval",
      "loss": "eval", "base": "eval",
    ]
    return byName[name] ?? name
  }
}
