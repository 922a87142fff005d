import Glibc
import GoraCore

/// Which short trials are made to find a learning rate, and which rate is taken: a function of the losses that the trials end with.
///
/// First trials of one step: under Adam's rules that is a line search along the first update, whose gradient all of them share, so that
/// each costs one forward pass over the judged rows. How far that step may go before the loss rises is what the curvature allows, which
/// the best rate of a run goes with (arXiv 2602.04998). One batch alone may teach other rows nothing, so this only says where to begin:
/// it walks down the curve of its losses, by factors of 4 and then of 2, until the lowest point has neighbours on both sides; where it
/// teaches them nothing, to the highest rate that does no harm. Then trials of `horizon` steps from there, each with the schedule of the
/// run made as short as itself, by factors of 2: few, so that they are long, since what is best for a few steps is not what is best for
/// many. The vertex of the parabola through the lowest and two points beside it, over the logarithm of the rate, is what is best for the
/// horizon, and what the run takes: whether a longer run wants a higher rate or a lower one differs from model to model.
///
/// Where the budget has no room for trials of two steps, the line search alone is what there is.
///
/// No short trial shows that a rate makes a long run's loss rise again. A run that does is given up, and starts over at half of its rate.
package struct RateSearch: Sendable {
  /// What is known of B's rate over that of A.
  package enum Ratio: Sendable, Equatable {
    /// There is no B.
    case none
    case given(Double)
    case wanted
  }

  package struct Setting: Sendable, Equatable {
    /// Peak rate, that of A.
    package var lr: Double
    /// Rate of B over it; nil: there is no B.
    package var ratio: Double?
    package var steps: Int

    package init(lr: Double, ratio: Double?, steps: Int) { (self.lr, self.ratio, self.steps) = (lr, ratio, steps) }
  }

  package struct Trial: Sendable, Equatable {
    package var setting: Setting
    /// After its steps, on rows that it did not learn; nil where it diverged.
    package var loss: Double?

    package init(setting: Setting, loss: Double?) { (self.setting, self.loss) = (setting, loss) }
  }

  package struct Choice: Sendable, Equatable {
    package var lr: Double
    package var ratio: Double?
    /// For people.
    package var reason: String
  }

  /// Factor between neighbouring rates.
  private static let factor = 2.0
  /// Trials of one step that most searches make.
  private static let shortTrials = 6
  /// Longer ones that what is left of the budget is shared out among.
  private static let longTrials = 3
  /// Rates of B over A that are tried where one is wanted.
  static let ratios = [1.0, 4, 16]
  /// Where the line search begins: any rate will do.
  private static let start = 1e-3
  /// Rates that are tried.
  private static let range = 1e-12...1e3
  /// Runs that are given up at most.
  private static let mostAbandoned = 6

  /// Work that the trials may cost, in steps of the run.
  package let budget: Double
  package private(set) var trials: [Trial] = []
  /// Runs at what was found before that were given up, with the steps that they took.
  package private(set) var abandoned: [Trial] = []
  private let lr: Double?
  private let ratio: Ratio
  /// Of the run.
  package let steps: Int
  /// What measuring a trial costs, in steps.
  private var judging = 0.0

  /// - Parameters:
  ///   - lr: nil: it is wanted.
  ///   - steps: of the run.
  ///   - share: what the trials may cost of it.
  package init(lr: Double?, ratio: Ratio, steps: Int, share: Double) {
    (self.lr, self.ratio, self.steps) = (lr, ratio, steps)
    budget = share * Double(steps)
  }

  /// What measuring a trial may cost at most, in steps: the line search has room then, and two steps for each trial of a ratio.
  package var dearestJudging: Double {
    let (shared, short) = (1.0, lr == nil ? Double(Self.shortTrials) : 0)
    let long = ratio == .wanted ? Double(longTrials) : 0
    return (budget - shared - long) / (short + long)
  }

  /// - Throws: status 64 where the run is too short for trials that are measured at this cost.
  package mutating func judge(at cost: Double) throws(GoraError) {
    guard cost <= dearestJudging else {
      throw GoraError(
        .usage, "\(steps) steps are too few to find a rate with: trials may cost \(NumberText.significant(budget)) steps' work",
        hint: "a longer run, a larger --lr-budget, or the rate itself")
    }
    judging = cost
  }

  /// `--lr`, `--lr-ratio`, or both.
  package var name: String {
    ([lr == nil ? "--lr" : nil, ratio == .wanted ? "--lr-ratio" : nil] as [String?]).compactMap { $0 }.joined(separator: " and ")
  }

  /// Work of all trials so far, in steps: their own, the first of which they share, and what they are measured on; and of the runs that
  /// were given up.
  package var cost: Double {
    let trials = trials.isEmpty ? 0 : trials.reduce(1) { $0 + Double($1.setting.steps - 1) + judging }
    return abandoned.reduce(trials) { $0 + Double($1.setting.steps) }
  }

  package mutating func add(_ trial: Trial) { trials.append(trial) }

  /// Gives up the run at what was found, after as many steps: the next one has half of its rate.
  /// - Returns: false where the rate is a given one, or too many runs were given up before.
  package mutating func abandon(after steps: Int) -> Bool {
    guard lr == nil, abandoned.count < Self.mostAbandoned, let choice else { return false }
    abandoned.append(Trial(setting: Setting(lr: choice.lr, ratio: choice.ratio, steps: steps), loss: nil))
    return true
  }

  // MARK: What comes next

  /// The rate of B over A at which the rate of A is looked for.
  private var firstRatio: Double? {
    switch ratio {
    case .none: nil
    case .given(let ratio): ratio
    case .wanted: Self.ratios[0]
    }
  }

  /// Longer trials, with those of ratios, of which the first is that of the others where the rate is wanted too.
  private var longTrials: Int { (lr == nil ? Self.longTrials : 0) + ratioTrials }
  private var ratioTrials: Int { ratio == .wanted ? Self.ratios.count - (lr == nil ? 1 : 0) : 0 }

  /// Steps of the longer trials: what is left of the budget beside the first gradient and the line search. They have their first step for
  /// nothing. 1: there is no room for any.
  package var horizon: Int {
    let left = budget - 1 - Double(trials.count { $0.setting.steps == 1 }) * judging
    return min(steps, max(ratio == .wanted ? 2 : 1, 1 + Int(max(0, left / Double(longTrials) - judging))))
  }

  private var hasLongTrials: Bool { horizon > 1 }

  /// Of a trial of the horizon.
  private var longCost: Double { Double(horizon - 1) + judging }

  /// - Parameter limit: what a loss above is as bad as none.
  private func curve(steps: Int, base: Double, limit: Double) -> Curve {
    var curve = Curve(base: base, factor: Self.factor)
    for trial in trials where trial.setting.steps == steps && trial.setting.ratio == firstRatio {
      let power = Int((log(trial.setting.lr / base) / log(Self.factor)).rounded())
      let loss = trial.loss ?? .infinity
      curve.losses.append((power, loss <= limit ? loss : .infinity))
    }
    return curve
  }

  /// The line search along the first update.
  private var line: Curve { curve(steps: 1, base: Self.start, limit: .infinity) }

  /// What the line search says: its lowest point; nil where no single step has a finite loss.
  private var single: Double? {
    let line = line
    guard let floor = line.floor else { return line.vertex }
    return Double(line.losses.filter { $0.loss <= Curve.harmless * floor }.map(\.power).max() ?? 0)
  }

  /// The longer trials, around what the line says. One that ends a tenth above all single steps of lower rates has blown up, where another
  /// has not.
  private var long: Curve? {
    let line = line
    guard let single, let best = line.best else { return nil }
    let highest = line.losses.filter { $0.power <= best.power }.map(\.loss).max() ?? best.loss
    let sound = curve(steps: horizon, base: line.rate(single), limit: 1.1 * highest)
    return sound.best == nil ? curve(steps: horizon, base: line.rate(single), limit: .infinity) : sound
  }

  /// The rate of A at `firstRatio` that is best for short runs; nil where all longer trials diverged.
  private var best: Double? {
    guard lr == nil else { return lr }
    if !hasLongTrials { return single.map(line.rate) }
    return long.flatMap { curve in curve.vertex.map(curve.rate) }
  }

  /// The next trial; nil where there is nothing more to try, or no budget for it.
  package var next: Setting? {
    if lr == nil {
      let line = line
      let kept = ratio == .wanted ? Double(longTrials) * (1 + judging) : 0
      if let power = line.floor == nil ? line.next(stride: 2) : line.aboveFloor(stride: 2),
        cost + judging + kept <= budget || line.best == nil,
        Self.range.contains(line.rate(Double(power)))
      {
        return Setting(lr: line.rate(Double(power)), ratio: firstRatio, steps: 1)
      }
      guard hasLongTrials, let long else { return nil }
      let left = Double(ratioTrials) * longCost
      if let power = long.next(stride: 1), cost + longCost + left <= budget || long.best == nil,
        Self.range.contains(long.rate(Double(power)))
      {
        return Setting(lr: long.rate(Double(power)), ratio: firstRatio, steps: horizon)
      }
    }
    guard ratio == .wanted else { return nil }
    return Self.ratios.lazy.compactMap(setting).first { setting in !trials.contains { $0.setting == setting } }
  }

  /// A trial of another ratio: B as fast as it was in the lowest trial at the first one, where the rate is free.
  private func setting(of ratio: Double) -> Setting? {
    guard let rate = lr ?? long.flatMap({ curve in curve.best.map { curve.rate(Double($0.power)) } }) else { return nil }
    return Setting(lr: lr ?? Self.rounded(rate * Self.ratios[0] / ratio), ratio: ratio, steps: horizon)
  }

  // MARK: What is taken

  /// What the trials say; nil where all diverged.
  package var choice: Choice? {
    guard let best else { return nil }
    var (rate, ratio) = (best, firstRatio)
    var reason = ""
    if lr == nil, let single {
      let what = line.floor == nil ? "ends lowest at" : "does no harm up to"
      reason = "one step \(what) \(NumberText.significant(line.rate(single)))"
      reason +=
        hasLongTrials ? ", \(horizon) at \(NumberText.significant(best))" : "; no room for longer trials, so this is rough"
    }
    if self.ratio == .wanted, let first = firstRatio {
      let tried = Self.ratios.compactMap { ratio in
        setting(of: ratio).flatMap { setting in trials.first { $0.setting == setting } }
      }
      guard let least = tried.filter({ $0.loss != nil }).min(by: { ($0.loss ?? 0) < ($1.loss ?? 0) }) else { return nil }
      ratio = least.setting.ratio
      if lr == nil { rate *= first / (ratio ?? first) }
      reason += (reason.isEmpty ? "" : "; ") + "ratio \(NumberText.significant(ratio ?? 1)) ends lowest"
    }
    for run in abandoned {
      rate = run.setting.lr / 2
      reason += "; the run at \(NumberText.significant(run.setting.lr)) failed at step \(run.setting.steps)"
    }
    return Choice(lr: lr == nil ? Self.rounded(rate) : rate, ratio: ratio, reason: reason)
  }

  // MARK: The curve

  /// Losses at powers of a factor times a rate.
  struct Curve {
    var base: Double
    var factor: Double
    /// By the power; infinite where a trial diverged.
    var losses: [(power: Int, loss: Double)] = []

    func rate(_ power: Double) -> Double { rounded(base * pow(factor, power)) }

    /// The lowest loss, of equals that of the lower rate; nil where all diverged.
    var best: (power: Int, loss: Double)? {
      losses.filter { $0.loss < .infinity }.min { ($0.loss, $0.power) < ($1.loss, $1.power) }
    }

    /// The loss of rates that are too low to change it, where none does better: the three lowest that were tried are within a thousandth
    /// of each other, and of the lowest loss.
    var floor: Double? {
      let lowest = losses.sorted { $0.power < $1.power }.prefix(3).map(\.loss)
      guard lowest.count == 3, let best, lowest[0] < .infinity, lowest.allSatisfy({ abs($0 - lowest[0]) <= 1e-3 * lowest[0] }),
        best.loss >= (1 - 1e-3) * lowest[0]
      else { return nil }
      return lowest[0]
    }

    /// What a loss may be of the floor for a rate to do no harm.
    static let harmless = 1.01

    /// Where there is a floor, the next higher rate, until one does harm.
    func aboveFloor(stride: Int) -> Int? {
      guard let floor, let highest = losses.max(by: { $0.power < $1.power }), highest.loss <= Self.harmless * floor else {
        return nil
      }
      return highest.power + stride
    }

    func loss(_ power: Int) -> Double? { losses.first { $0.power == power }?.loss }

    /// What a walk downhill looks at next, by strides until there are points on both sides of the lowest, then its neighbours; nil where it
    /// has both.
    func next(stride: Int) -> Int? {
      if losses.isEmpty { return 0 }
      let powers = losses.map(\.power)
      guard let best else { return (powers.min() ?? 0) - stride }
      if powers.max() == best.power { return best.power + stride }
      if powers.min() == best.power { return best.power - stride }
      return [best.power + 1, best.power - 1].first { loss($0) == nil }
    }

    /// Where the parabola through the lowest point and its neighbours has its vertex, in powers: within half a one of the lowest point,
    /// and just that far from a neighbour's side that diverged. Where the walk was ended on its way to lower rates, the last three points
    /// say it, within the same bound; on its way to higher ones it is the last point, since what is beyond was not tried.
    var vertex: Double? {
      guard let best else { return nil }
      let x = Double(best.power)
      guard let high = loss(best.power + 1) else { return x }
      guard let low = loss(best.power - 1) else {
        guard let far = loss(best.power + 2), far < .infinity else { return x }
        let curvature = best.loss - 2 * high + far
        return curvature > 0 ? x - max(0, min(0.5, (far - best.loss) / (2 * curvature) - 1)) : x
      }
      if high == .infinity || low == .infinity { return low == high ? x : high == .infinity ? x - 0.5 : x + 0.5 }
      let curvature = low - 2 * best.loss + high
      return curvature > 0 ? x + (low - high) / (2 * curvature) : x
    }
  }

  /// Three digits: what is said is what is done.
  static func rounded(_ rate: Double) -> Double { Double(NumberText.significant(rate)) ?? rate }
}
