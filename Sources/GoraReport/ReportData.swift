/// Everything that the figures are drawn from: what the stages wrote, without its files.
package struct ReportData: Sendable {
  package var plans: [PlanRecord] = []
  package var scores: [ScoreRecord] = []
  package var trajectories: [TrajectoryRecord] = []
  package var losses: [LossRecord] = []
  package var searches: [RateSearchRecord] = []
  package var adapters: [AdapterRecord] = []
  package var costs: [CostRecord] = []
  package var results: [ResultRecord] = []
  package var rates: [RateRecord] = []
  /// The method that differences are taken to.
  package var baseline: String?

  package init() {}
}

/// A rank plan.
package struct PlanRecord: Sendable {
  package struct Module: Sendable, Equatable {
    package var name: String
    /// [out, in].
    package var shape: [Int]
    package var rank: Int

    package init(name: String, shape: [Int], rank: Int) {
      self.name = name
      self.shape = shape
      self.rank = rank
    }

    /// r·(out + in); a header may claim any shape.
    var parameters: Double { Double(rank) * shape.reduce(0) { $0 + Double($1) } }
  }

  package var run: RunLabel
  package var referenceRank: Int
  package var modules: [Module]

  package init(run: RunLabel, referenceRank: Int, modules: [Module]) {
    self.run = run
    self.referenceRank = referenceRank
    self.modules = modules
  }
}

/// The importance of each module.
package struct ScoreRecord: Sendable {
  package var run: RunLabel
  package var metric: String
  package var modules: [(name: String, importance: Double)]

  package init(run: RunLabel, metric: String, modules: [(name: String, importance: Double)]) {
    self.run = run
    self.metric = metric
    self.modules = modules
  }
}

/// How something of each module went over the steps of gora-grad.
package struct TrajectoryRecord: Sendable {
  package enum Quantity: Sendable {
    /// avg|W⊙G| of the mean gradient so far.
    case runningImportance
    /// The importance at a step of a training-like pass (`--track`).
    case trackedImportance
  }

  package var run: RunLabel
  package var quantity: Quantity
  /// x of each value.
  package var steps: [Double]
  package var modules: [(name: String, values: [Double])]

  package init(run: RunLabel, quantity: Quantity, steps: [Double], modules: [(name: String, values: [Double])]) {
    self.run = run
    self.quantity = quantity
    self.steps = steps
    self.modules = modules
  }
}

/// A training run's losses.
package struct LossRecord: Sendable {
  package var run: RunLabel
  package var training: [Point]
  package var validation: [Point]

  package init(run: RunLabel, training: [Point], validation: [Point]) {
    self.run = run
    self.training = training
    self.validation = validation
  }
}

/// How a run found its learning rate: what was tried, each by the loss that it ended with.
package struct RateSearchRecord: Sendable, Equatable {
  package struct Trial: Sendable, Equatable {
    package var rate: Double
    /// Rate of B over that of A, where there is one.
    package var ratio: Double?
    package var steps: Int
    /// nil where the trial diverged.
    package var loss: Double?

    package init(rate: Double, ratio: Double?, steps: Int, loss: Double?) {
      (self.rate, self.ratio, self.steps, self.loss) = (rate, ratio, steps, loss)
    }
  }

  package var run: RunLabel
  package var trials: [Trial]
  /// The rate of the run.
  package var found: Double?

  package init(run: RunLabel, trials: [Trial], found: Double?) {
    (self.run, self.trials, self.found) = (run, trials, found)
  }
}

/// An adapter folder, by the header of its weights.
package struct AdapterRecord: Sendable {
  /// What the initial step of one module is (see `InitialisationDiagnostics`).
  package struct Start: Sendable, Equatable {
    package var module: String
    package var captured: Double?
    package var cosine: Double?
    package var normRatio: Double?

    package init(module: String, captured: Double?, cosine: Double?, normRatio: Double?) {
      self.module = module
      self.captured = captured
      self.cosine = cosine
      self.normRatio = normRatio
    }
  }

  package var run: RunLabel
  package var modules: [PlanRecord.Module]
  package var starts: [Start]

  package init(run: RunLabel, modules: [PlanRecord.Module], starts: [Start]) {
    self.run = run
    self.modules = modules
    self.starts = starts
  }
}

/// What one stage of a run took.
package struct CostRecord: Sendable {
  package var run: RunLabel
  /// `grad`, `score`, `plan`, `init`, `train`, `eval` or another tool's name.
  package var stage: String
  package var seconds: Double?
  /// Peak resident bytes.
  package var memory: Double?

  package init(run: RunLabel, stage: String, seconds: Double?, memory: Double?) {
    self.run = run
    self.stage = stage
    self.seconds = seconds
    self.memory = memory
  }
}

/// What gora-eval measured.
package struct ResultRecord: Sendable {
  package var run: RunLabel
  package var rows: Int
  /// 0 to 1.
  package var accuracy: Double?
  /// Its 95 % interval.
  package var interval: ClosedRange<Double>?
  package var loss: Double?
  /// Of a task on images.
  package var confusion: Confusion?

  /// How many of each class were taken for each.
  package struct Confusion: Sendable, Equatable {
    package var classes: [String]
    /// [classes, classes], a row a class.
    package var counts: [[Double]]

    /// nil where the counts are not those of the classes.
    package init?(classes: [String], counts: [[Double]]) {
      let isSquare = counts.count == classes.count && counts.allSatisfy { $0.count == classes.count }
      guard isSquare, !classes.isEmpty, counts.joined().allSatisfy({ $0 >= 0 && $0.isFinite }) else { return nil }
      self.classes = classes
      self.counts = counts
    }
  }

  package init(run: RunLabel, rows: Int, accuracy: Double?, interval: ClosedRange<Double>?, loss: Double?) {
    self.run = run
    self.rows = rows
    self.accuracy = accuracy
    self.interval = interval
    self.loss = loss
  }
}

/// What a run at one rate came to. Several of them with different rates are a curve.
package struct RateRecord: Sendable {
  package var tried: TriedRun
  /// Loss on the rows that choose a rate; nil where it is not finite, or was not measured.
  package var validation: Double?
  /// Loss on the rows that a table tells of.
  package var test: Double?
  /// 0 to 1, of the answers to these.
  package var accuracy: Double?

  package init(tried: TriedRun, validation: Double? = nil, test: Double? = nil, accuracy: Double? = nil) {
    self.tried = tried
    self.validation = validation
    self.test = test
    self.accuracy = accuracy
  }
}

/// Values over runs of one group.
struct Spread {
  let count: Int
  let mean: Double
  /// Sample standard deviation; nil for fewer than two values.
  let deviation: Double?

  /// nil where no value is finite.
  init?(_ values: [Double]) {
    let finite = values.filter(\.isFinite)
    if finite.isEmpty { return nil }
    count = finite.count
    let mean = finite.reduce(0, +) / Double(finite.count)
    self.mean = mean
    deviation =
      count > 1 ? (finite.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(count - 1)).squareRoot() : nil
  }

  /// Half the 95 % interval of the mean, by Student's distribution.
  var margin: Double? {
    deviation.map { StudentT.bound95(degrees: count - 1) * $0 / Double(count).squareRoot() }
  }
}

/// Elements by a key, keys in the order in which they appear.
func grouped<Element, Key: Hashable>(_ elements: [Element], by key: (Element) -> Key) -> [(key: Key, elements: [Element])] {
  var place: [Key: Int] = [:]
  var groups: [(key: Key, elements: [Element])] = []
  for element in elements {
    let name = key(element)
    if let i = place[name] {
      groups[i].elements.append(element)
    } else {
      place[name] = groups.count
      groups.append((name, [element]))
    }
  }
  return groups
}
