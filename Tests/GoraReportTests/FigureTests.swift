import GoraReport
import Testing

/// The figures by their properties: what is in them, and that it is well-formed.
@Suite struct FigureTests {
  static func modules(layers: Int, rank: (Int, Int) -> Int) -> [PlanRecord.Module] {
    (0..<layers).flatMap { layer in
      ["q_proj", "k_proj", "v_proj"].enumerated().map { kind, name in
        PlanRecord.Module(name: "model.layers.\(layer).self_attn.\(name)", shape: [64, 32], rank: rank(layer, kind))
      }
    }
  }

  /// Something for every figure.
  static func data(layers: Int = 4, steps: Int = 50, name: String = "seed-0/gora") -> ReportData {
    var data = ReportData()
    let run = RunLabel(name)
    let modules = modules(layers: layers) { 5 + 7 * $0 + $1 }
    data.plans = [PlanRecord(run: run, referenceRank: 8, modules: modules)]
    data.scores = [ScoreRecord(run: run, metric: "sensitivity", modules: modules.map { ($0.name, Double($0.rank) * 1e-6) })]
    data.trajectories = [
      TrajectoryRecord(
        run: run, quantity: .runningImportance, steps: (1...steps).map(Double.init),
        modules: modules.map { module in ("\(module.name).weight", (1...steps).map { Double(module.rank) / Double($0) }) })
    ]
    data.losses = [
      LossRecord(
        run: run, training: (1...steps).map { Point(Double($0), 2 / Double($0).squareRoot()) },
        validation: [Point(Double(steps), 1.5)])
    ]
    data.searches = [
      RateSearchRecord(
        run: run,
        trials: [(1e-4, 1, 2.5), (4e-4, 1, 2.3), (4e-4, 6, 2.0), (8e-4, 6, 2.1), (1.6e-3, 6, nil)].map {
          .init(rate: $0, ratio: 16, steps: $1, loss: $2)
        }, found: 5e-4)
    ]
    data.adapters = [
      AdapterRecord(
        run: run, modules: modules,
        starts: modules.map { .init(module: $0.name, captured: 0.1, cosine: 0.3, normRatio: 1) })
    ]
    data.costs = [
      CostRecord(run: run, stage: "train", seconds: 12, memory: 3e8),
      CostRecord(run: run, stage: "eval", seconds: 3, memory: nil),
    ]
    data.results = [ResultRecord(run: run, rows: 400, accuracy: 0.25, interval: 0.2...0.3, loss: nil)]
    data.rates = ["lr-1e-3", "lr-1e-2"].enumerated().compactMap { i, part in
      TriedRun([name, part]).map { RateRecord(tried: $0, validation: 2 - Double(i), test: 2) }
    }
    data.results[0].confusion = .init(classes: ["a cat", "a dog"], counts: [[3, 1], [0, 0]])
    return data
  }

  /// A page without its document type, which is not XML's.
  static func body(_ html: String) -> String { String(html.dropFirst("<!DOCTYPE html>".count)) }

  @Test func wellFormedCheckerRefuses() {
    #expect(elements("<svg><g></svg>") == nil)
    #expect(elements("<svg>a & b</svg>") == nil)
    #expect(elements("<svg a=\"1\" a=\"2\"/>") == nil && elements("<svg a=1/>") == nil && elements("<a/><b/>") == nil)
    #expect(elements("<svg a=\"&lt;\">\n<g/></svg>") == ["svg": 1, "g": 1])
  }

  @Test(arguments: FigureName.allCases) func everyFigureIsAnAccessiblePicture(_ name: FigureName) throws {
    let figure = try #require(Figure.make(name, Self.data()))
    let svg = figure.svg()
    let counts = try #require(elements(svg))
    #expect(svg.hasPrefix("<svg xmlns=\"http://www.w3.org/2000/svg\""))
    #expect(
      svg.contains("role=\"img\"") && svg.contains("aria-labelledby=\"\(name.rawValue)-title \(name.rawValue)-description\""))
    #expect(counts["desc"] == 1 && counts["title", default: 0] >= 1)
    #expect(!svg.contains("nan") && !svg.contains("inf\""))
    #expect(Figure.make(name, ReportData()) == nil)
  }

  @Test func pageNeedsNothingFromElsewhere() throws {
    let figures = Figure.all(Self.data())
    #expect(figures.map(\.name) == FigureName.allCases)
    let html = Page(title: "t", figures: figures, sources: [.init(path: "plan.json", kind: "rank plan")]).html()
    let counts = try #require(elements(Self.body(html)))
    #expect(counts["svg"] == figures.reduce(0) { $0 + $1.panels.count })
    for word in ["<script", "<link", "<img", "http:", "https:", "@import", "src="] { #expect(!html.contains(word), "\(word)") }
    #expect(html.contains("prefers-color-scheme:dark"))
    // Names inside a page are unique.
    let ids = html.matches(of: /\bid="([^"]+)"/).map { String($0.1) }
    #expect(Set(ids).count == ids.count && ids.count > 10)
  }

  /// Shares of a class's images, and nothing for a class that has none.
  @Test func confusionIsShares() throws {
    let svg = try #require(Figure.make(.confusion, Self.data())).svg()
    #expect(svg.contains("taken for 1, 1 a cat: 75") && svg.contains("taken for 2, 1 a cat: 25"))
    #expect(svg.contains("taken for 1, 2 a dog: none"))
    #expect(ResultRecord.Confusion(classes: ["a"], counts: [[1, 2]]) == nil)
    #expect(ResultRecord.Confusion(classes: ["a"], counts: [[.nan]]) == nil)
  }

  @Test func everyRankStandsInItsCell() throws {
    let data = Self.data(layers: 4)
    let svg = try #require(Figure.make(.ranks, data)).svg()
    // A cell is a rectangle that says what it is; then comes its number.
    let cells = svg.matches(of: /<title>layer (\d+), (\w+): (\d+)<\/title><\/rect>\n<text[^>]*>(\d+)<\/text>/)
    #expect(cells.count == 12)
    for cell in cells {
      let kind = try #require(["q_proj", "k_proj", "v_proj"].firstIndex(of: String(cell.2)))
      let rank = 5 + 7 * (try #require(Int(cell.1))) + kind
      #expect(Int(cell.3) == rank && Int(cell.4) == rank)
    }
    let text = try #require(Figure.make(.ranks, data)).text(TextStyle(unicode: false, color: false))
    let row = try #require(text.split(separator: "\n").first { $0.hasPrefix("k_proj") })
    #expect(row.split(separator: " ").dropFirst().prefix(4).map(String.init) == ["6", "13", "20", "27"])
  }

  @Test func equalPlansShareAPicture() throws {
    var data = Self.data()
    data.plans = [0, 1, 2].map {
      PlanRecord(run: RunLabel("seed-\($0)/lora"), referenceRank: 8, modules: Self.modules(layers: 2) { _, _ in 8 })
    }
    data.plans.append(PlanRecord(run: RunLabel("seed-0/gora"), referenceRank: 8, modules: Self.modules(layers: 2) { $0 + $1 }))
    let figure = try #require(Figure.make(.ranks, data))
    #expect(figure.panels.map(\.title) == ["lora, 3 runs alike", "seed-0/gora"])
  }

  /// Of one start and what was tuned from it at two rates: one column, for each seed; another start there is its own.
  @Test func tunedAdaptersShareTheirStart() throws {
    var data = ReportData()
    for (name, captured) in [
      ("seed-0/gora", 0.125), ("seed-1/gora", 0.375), ("seed-0/gora/1e-4", 0.125), ("seed-0/gora/2e-4", 0.125),
      ("seed-0/gora/other", 0.5), ("seed-0/lora", 0.125),
    ] {
      data.adapters.append(
        AdapterRecord(
          run: RunLabel(name), modules: [],
          starts: [.init(module: "model.layers.0.self_attn.q_proj", captured: captured, cosine: nil, normRatio: nil)]))
    }
    let text = try #require(Figure.make(.initialisation, data)).text(TextStyle(unicode: false, color: false))
    let rows = text.split(separator: "\n").map { $0.split(whereSeparator: { $0 == " " }).map(String.init) }
    #expect(rows.contains(["gora", "gora/other", "lora"]), "\(text)")
    #expect(
      rows.contains { $0.first == "q_proj" && $0.contains("0.25") && $0.contains("0.5") && $0.contains("0.125") }, "\(text)")
  }

  @Test func budgetComparesWithPlainLoRA() throws {
    var data = ReportData()
    // 12 modules of 96 parameters a rank; three of rank 12 among eights: 12·8 + 3·4 = 108 against 96, an eighth more.
    let modules = Self.modules(layers: 4) { layer, _ in layer == 0 ? 12 : 8 }
    data.plans = [PlanRecord(run: RunLabel("gora"), referenceRank: 8, modules: modules)]
    let text = try #require(Figure.make(.budget, data)).text(TextStyle(unicode: false, color: false))
    #expect(text.contains("10,368, +12.50 %"))
  }

  @Test func resultsHaveSampleDeviations() throws {
    var data = ReportData()
    data.results = [0.1, 0.2, 0.6].enumerated().map {
      ResultRecord(run: RunLabel("seed-\($0)/gora"), rows: 10, accuracy: $1, interval: nil, loss: nil)
    }
    let text = try #require(Figure.make(.results, data)).text(TextStyle(unicode: true, color: false))
    // √((0.04 + 0.01 + 0.09)/2) = 0.26458
    #expect(text.contains("30.00 ± 26.46") && text.contains("gora     3"))
  }

  @Test func outsideTextIsEscaped() throws {
    let evil = "<script>alert('x')</script>&\"\u{1B}[31m\u{0}\u{FFFE}"
    var data = Self.data(name: evil)
    data.plans[0].modules = [.init(name: "model.layers.0.\(evil)", shape: [2, 2], rank: 1)]
    data.scores[0].metric = evil
    data.costs[0].stage = evil
    let page = Page(title: evil, figures: Figure.all(data), sources: [.init(path: evil, kind: evil)])
    let html = page.html()
    let counts = try #require(elements(Self.body(html)))
    #expect(counts["script"] == nil && html.contains("&lt;script&gt;"))
    for figure in page.figures { #expect(elements(figure.svg()) != nil) }
    let text = page.text(TextStyle(unicode: true, color: false))
    #expect(!text.unicodeScalars.contains { ($0.value < 32 && $0 != "\n") || $0.value == 0x7F })
  }

  /// NaN, infinities, one step, nothing at all, and more than fits.
  @Test func hostileData() throws {
    var data = Self.data(layers: 300, steps: 1)
    let run = RunLabel("run")
    data.losses = [
      LossRecord(run: run, training: [Point(1, .nan), Point(2, .infinity), Point(3, 1e308), Point(4, -1e308)], validation: []),
      LossRecord(run: RunLabel("one"), training: [Point(1, 0)], validation: []),
      LossRecord(run: RunLabel("none"), training: [], validation: [Point(.nan, .nan)]),
      LossRecord(run: RunLabel("long"), training: (0..<10_000).map { Point(Double($0), 1 / Double($0 + 1)) }, validation: []),
    ]
    data.scores = [
      ScoreRecord(run: run, metric: "m", modules: [("a.0.x", .nan), ("a.1.x", .infinity), ("a.2.x", -1), ("lm_head", 0)]),
      ScoreRecord(run: run, metric: "zero", modules: [("a.0.x", 0)]), ScoreRecord(run: run, metric: "empty", modules: []),
    ]
    data.costs = [CostRecord(run: run, stage: "train", seconds: .infinity, memory: .nan)]
    data.results = [ResultRecord(run: run, rows: 0, accuracy: .nan, interval: nil, loss: .infinity)]
    data.plans.append(PlanRecord(run: run, referenceRank: 8, modules: []))
    data.rates = [.nan, .infinity, 1e308, -1, 0].enumerated().compactMap { i, loss in
      TriedRun(["seed-\(i % 2)", "a", "lr-1e-\(i)"]).map { RateRecord(tried: $0, validation: loss, test: loss) }
    }
    let figures = Figure.all(data)
    let html = Page(title: "", figures: figures, sources: []).html()
    #expect(elements(Self.body(html)) != nil)
    for word in ["\"nan", " nan", "NaN ", "\"inf", " inf "] { #expect(!html.contains(word), "\(word)") }
    #expect(html.utf8.count < 4_000_000)
    for unicode in [true, false] {
      let text = Page(title: "", figures: figures, sources: []).text(TextStyle(unicode: unicode, color: false))
      for line in text.split(separator: "\n") {
        #expect(line.count <= 80, "\(line)")
        if !unicode { #expect(line.utf8.count == line.count) }
      }
    }
  }

  /// Finite numbers of every size, which a file may hold, are drawn: nothing overflows on the way to a place or a colour.
  @Test func extremeNumbers() throws {
    let least = Double.leastNonzeroMagnitude
    let sizes = [0, least, 1e-307, 1e-151, 1, 3e7, 1e151, 1.7e308]
    let numbers = sizes + sizes.map(-)
    for a in numbers {
      for b in numbers {
        var data = ReportData()
        let run = RunLabel("run")
        data.losses = [
          LossRecord(run: run, training: [Point(a, b), Point(b, a), Point(1, 1)], validation: [Point(b, b), Point(a, 1)])
        ]
        data.scores = [ScoreRecord(run: run, metric: "m", modules: [("a.0.x", a), ("a.1.x", b), ("a.0.y", b), ("a.1.y", 1)])]
        data.trajectories = [
          TrajectoryRecord(
            run: run, quantity: .runningImportance, steps: [1, a, b], modules: [("a.0.x", [a, b, 1]), ("a.1.x", [b, a, b])])
        ]
        data.costs = [CostRecord(run: run, stage: "train", seconds: abs(a), memory: abs(b))]
        data.rates = [(a, b), (b, a), (1, 1)].compactMap { rate, loss in
          TriedRun(["m", "ratio-\(abs(b))", "lr-\(abs(rate))"]).map { RateRecord(tried: $0, validation: loss, test: loss) }
        }
        data.results = [
          ResultRecord(run: run, rows: 3, accuracy: a, interval: min(a, b)...max(a, b), loss: b),
          ResultRecord(run: RunLabel("other"), rows: 3, accuracy: b, interval: nil, loss: a),
        ]
        let most = Int.max / 2
        data.plans = [
          PlanRecord(run: run, referenceRank: most, modules: [.init(name: "a.0.x", shape: [most, most], rank: most)])
        ]
        let page = Page(title: "", figures: Figure.all(data), sources: [])
        #expect(elements(Self.body(page.html())) != nil, "\(a) \(b)")
        for unicode in [true, false] {
          let text = page.text(TextStyle(unicode: unicode, color: false))
          #expect(text.split(separator: "\n").allSatisfy { $0.count <= 80 }, "\(a) \(b)")
        }
      }
    }
  }

  @Test func textFitsAndColoursOnlyWhenAsked() {
    let page = Page(title: String(repeating: "long/", count: 40), figures: Figure.all(Self.data(layers: 40)), sources: [])
    for unicode in [true, false] {
      let plain = page.text(TextStyle(unicode: unicode, color: false))
      #expect(plain.split(separator: "\n").allSatisfy { $0.count <= 80 })
      #expect(!plain.contains("\u{1B}"))
      let colored = page.text(TextStyle(unicode: unicode, color: true))
      #expect(colored.contains("\u{1B}["))
      // Without the sequences its lines are as short.
      let stripped = colored.replacing(/\u{1B}\[[0-9;]*m/, with: "")
      #expect(stripped.split(separator: "\n").allSatisfy { $0.count <= 80 })
    }
  }
}
