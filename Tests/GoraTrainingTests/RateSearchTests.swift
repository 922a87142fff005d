import Foundation
import GoraCore
import GoraTraining
import Testing

/// The search as a function of losses: which trials it makes of an oracle, and what it takes.
@Suite struct RateSearchTests {
  /// Answers all trials.
  /// - Parameter loss: nil for one that diverges.
  static func run(_ search: RateSearch, _ loss: (RateSearch.Setting) -> Double?) -> RateSearch {
    var search = search
    while let setting = search.next { search.add(RateSearch.Trial(setting: setting, loss: loss(setting))) }
    return search
  }

  static func search(
    lr: Double? = nil, ratio: RateSearch.Ratio = .given(1), steps: Int = 400, share: Double = 0.15, judging: Double = 1.0 / 3
  ) throws -> RateSearch {
    var search = RateSearch(lr: lr, ratio: ratio, steps: steps, share: share)
    try search.judge(at: judging)
    return search
  }

  /// A bowl over the logarithm of the rate, with its lowest point at `best`.
  static func bowl(_ best: Double, steepness: Double = 0.1) -> (RateSearch.Setting) -> Double? {
    { 3 + steepness * pow(log($0.lr / best), 2) }
  }

  /// Wherever the best rate lies, it is found: a parabola has its vertex where a parabola's three points say, but for the three digits
  /// that are kept. More steps lower the loss.
  @Test(arguments: [1e-7, 3.3e-5, 7e-4, 1e-3, 2.9e-2, 0.7], [100, 400, 5000]) func findsTheVertex(best: Double, steps: Int) throws
  {
    let search = Self.run(try Self.search(steps: steps)) { setting in
      Self.bowl(best)(setting).map { $0 - log(Double(setting.steps)) }
    }
    let choice = try #require(search.choice)
    #expect(abs(log(choice.lr / best)) < 0.02, "\(choice)")
    #expect(choice.ratio == 1)
    #expect(Double(String(format: "%.3g", choice.lr)) == choice.lr)
  }

  /// One step only says where to begin: several overrule it, as far as three rates reach, and below by half of their distance more.
  @Test(arguments: [0.01, 0.4, 1, 1.5, 2, 100]) func severalStepsOverruleOne(factor: Double) throws {
    let search = Self.run(try Self.search(steps: 1000)) { setting in
      Self.bowl(setting.steps == 1 ? 5e-4 : 5e-4 * factor)(setting)
    }
    let choice = try #require(search.choice)
    let expected = factor < 0.1 ? pow(2, -1.5) : min(4, factor)
    #expect(search.horizon > 40 && abs(log(choice.lr / (5e-4 * expected))) < 0.02, "\(choice)")
  }

  /// The walls of a real curve are not alike: what is found is still near its lowest point.
  @Test(arguments: [3e-5, 1e-3, 2e-2], [200, 1000]) func crookedCurves(best: Double, steps: Int) throws {
    let search = Self.run(try Self.search(steps: steps)) { setting in
      // Beyond the best rate it rises like a power of the rate, below it like its logarithm.
      let away = log(setting.lr / best)
      return 3 + 0.1 * (exp(away) - 1 - away)
    }
    #expect(search.horizon > 6)
    #expect(try abs(log(#require(search.choice).lr / best)) < 0.2, "\(String(describing: search.choice))")
  }

  /// Where the longer trial above the best rate blows up, what is taken lies between that and the one below.
  @Test func nearAWall() throws {
    for wall in [nil, 9.0] as [Double?] {
      let search = Self.run(try Self.search()) { setting in
        setting.steps > 1 && setting.lr > 1.5e-3 ? wall : Self.bowl(1e-3)(setting)
      }
      let choice = try #require(search.choice)
      #expect(search.trials.contains { $0.loss == wall })
      #expect(choice.lr <= 1e-3 && choice.lr > 5e-4, "\(choice)")
    }
  }

  /// Trials cost what they may: the first gradient, further steps, and measuring; and no trial is made twice. What the line search leaves
  /// is spent on three long ones, if that is two steps for each.
  @Test(arguments: [12, 30, 40, 80, 100, 333, 4000], [0.1, 0.15, 0.5]) func staysWithinItsBudget(steps: Int, share: Double) throws
  {
    guard let empty = try? Self.search(steps: steps, share: share) else {
      #expect(share * Double(steps) < 3)
      return
    }
    let search = Self.run(empty, Self.bowl(2e-3))
    #expect(search.cost <= share * Double(steps))
    #expect(search.horizon == 1 || search.cost > share * Double(steps) - 3)
    let work = search.trials.reduce(1) { $0 + Double($1.setting.steps) - 1 + 1.0 / 3 }
    #expect(abs(search.cost - work) < 1e-9)
    for (i, trial) in search.trials.enumerated() {
      #expect(!search.trials[..<i].contains { $0.setting == trial.setting })
      #expect(trial.setting.steps == 1 || trial.setting.steps == search.horizon)
    }
    let long = search.trials.count { $0.setting.steps > 1 }
    #expect(long == (search.horizon > 1 ? 3 : 0))
    // Three more gradients and four measurements beside the line's six are 7: there is room for them from there on.
    #expect((search.horizon > 1) == (share * Double(steps) >= 7))
  }

  /// Beyond an edge everything diverges: what is taken is below it, and finite.
  @Test(arguments: [1e-6, 1e-3, 1e-1]) func neverTakesWhatDiverges(edge: Double) throws {
    let search = Self.run(try Self.search()) { $0.lr > edge ? nil : 3 - 0.2 * log($0.lr / 1e-9) }
    let choice = try #require(search.choice)
    #expect(choice.lr <= edge && choice.lr > edge / 30, "\(choice)")
    #expect(search.trials.contains { $0.loss == nil })
  }

  /// A worse loss is as bad as none: an explosion that stays finite is not taken either.
  @Test func explosionsAreOut() throws {
    let search = Self.run(try Self.search()) { $0.lr > 1e-3 ? 1e30 : 3 - 0.1 * log($0.lr / 1e-9) }
    #expect(try #require(search.choice).lr <= 1e-3)
  }

  /// A long trial that ends far above the start says nothing of where the lowest point lies, nor pulls the choice towards itself.
  @Test func blownUpTrialsPullNothing() throws {
    let search = Self.run(try Self.search()) { setting in
      if setting.steps == 1 { return Self.bowl(4e-3)(setting) }
      return setting.lr > 5e-3 ? 8 : 2.5 + 0.02 * log2(setting.lr / 1e-3)
    }
    let choice = try #require(search.choice)
    let long = search.trials.filter { $0.setting.steps > 1 }
    let lowest = try #require(long.min { ($0.loss ?? 9) < ($1.loss ?? 9) })
    #expect(long.contains { $0.loss == 8 } && choice.lr <= lowest.setting.lr, "\(choice): \(long)")
  }

  /// One step may do other rows nothing but harm, and less the lower its rate: what several steps want is found all the same.
  @Test(arguments: [1e-4, 1e-3, 1e-2]) func firstStepsThatTeachNothing(best: Double) throws {
    let search = Self.run(try Self.search()) { setting in
      setting.steps == 1 ? 3 + 0.05 * pow(setting.lr / best, 2) : 3 - 0.5 * exp(-pow(log(setting.lr / best), 2) / 8)
    }
    let choice = try #require(search.choice)
    #expect(search.cost <= search.budget && abs(log2(choice.lr / best)) < 0.6, "\(choice): \(search.trials)")
  }

  /// Low rates may change nothing in one step, as AdaLoRA's do: the line search goes up until one does.
  @Test(arguments: [2e-3, 3e-2, 0.5]) func lowRatesThatDoNothing(best: Double) throws {
    let search = Self.run(try Self.search(steps: 1000)) { setting in
      let away = setting.lr / best
      return 3 - (setting.steps == 1 ? 0.01 : 1) * (2 * away - away * away) * (away < 4 ? 1 : 10)
    }
    let choice = try #require(search.choice)
    #expect(search.cost <= search.budget && abs(log2(choice.lr / best)) < 0.6, "\(choice): \(search.trials)")
  }

  /// A run that is given up leaves half of its rate to the next, and costs what it took; that ends, and a given rate stays.
  @Test func abandonedRuns() throws {
    var search = Self.run(try Self.search(), Self.bowl(2e-3))
    let (first, cost) = (try #require(search.choice), search.cost)
    for count in 1...6 {
      #expect(search.abandon(after: 50 * count) && search.next == nil)
      let choice = try #require(search.choice)
      #expect(abs(choice.lr * pow(2, Double(count)) / first.lr - 1) < 0.02 && choice.ratio == first.ratio)
      #expect(choice.reason.contains("failed at step \(50 * count)"))
      #expect(abs(search.cost - cost - Double((1...count).reduce(0) { $0 + 50 * $1 })) < 1e-9)
    }
    #expect(!search.abandon(after: 1) && search.abandoned.count == 6)
    #expect(search.abandoned.first?.setting == RateSearch.Setting(lr: first.lr, ratio: 1, steps: 50))
    var given = Self.run(try Self.search(lr: 1e-3, ratio: .wanted), Self.bowl(1e-3))
    #expect(!given.abandon(after: 50) && given.choice?.lr == 1e-3)
  }

  @Test func allDiverge() throws {
    let search = Self.run(try Self.search()) { _ in nil }
    #expect(search.choice == nil && search.trials.count < 40)
  }

  /// Curves without a lowest point end the walk too.
  @Test func noLowestPoint() throws {
    for slope in [-0.1, 0, 0.1] {
      let search = Self.run(try Self.search()) { 3 + slope * log($0.lr) }
      #expect(search.trials.count < 60 && search.choice != nil)
    }
  }

  /// A ratio that is wanted is tried at B's own best rate; one beside a rate that is given, at that.
  @Test func ratios() throws {
    // B learns best at 4e-3, and all is lower the less A moves.
    let loss = { (setting: RateSearch.Setting) -> Double? in
      3 + 0.1 * pow(log(setting.lr * (setting.ratio ?? 1) / 4e-3), 2) + 0.01 * log(setting.lr)
    }
    let both = Self.run(try Self.search(ratio: .wanted, steps: 1000), loss)
    let choice = try #require(both.choice)
    #expect(choice.ratio == 16 && both.cost <= 150)
    #expect(abs(log(choice.lr * 16 / 4e-3)) < 0.1, "\(choice)")
    let tried = Set(both.trials.filter { $0.setting.steps == both.horizon }.compactMap(\.setting.ratio))
    #expect(tried == [1, 4, 16])
    let given = Self.run(try Self.search(lr: 1e-3, ratio: .wanted), loss)
    #expect(given.trials.count == 3 && given.trials.allSatisfy { $0.setting.lr == 1e-3 })
    #expect(given.choice?.lr == 1e-3 && given.choice?.ratio == 4)
    let none = Self.run(try Self.search(ratio: .none), loss)
    #expect(none.trials.allSatisfy { $0.setting.ratio == nil } && none.choice?.ratio == nil)
  }

  /// Without room for longer trials a single step's lowest rate is taken as it is, and that is said.
  @Test(arguments: [3e-5, 1e-3, 2e-2]) func lineAlone(best: Double) throws {
    let search = Self.run(try Self.search(steps: 40), Self.bowl(best))
    let choice = try #require(search.choice)
    #expect(search.horizon == 1 && search.trials.allSatisfy { $0.setting.steps == 1 } && search.cost <= 6)
    #expect(abs(log(choice.lr / best)) < 0.02 && choice.reason.contains("rough"), "\(choice)")
  }

  @Test func tooShort() {
    #expect(throws: GoraError.self) { try Self.search(steps: 15) }
    #expect(throws: GoraError.self) { try Self.search(ratio: .wanted, steps: 60) }
  }

  /// The same losses, the same trials: what was made before may be told again.
  @Test func isAFunctionOfTheLosses() throws {
    let first = Self.run(try Self.search(), Self.bowl(2e-3))
    var again = try Self.search()
    for trial in first.trials {
      #expect(again.next == trial.setting)
      again.add(trial)
    }
    #expect(again.next == nil && again.choice == first.choice)
  }
}
