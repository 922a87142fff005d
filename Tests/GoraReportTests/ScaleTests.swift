import GoraReport
import Testing

/// Scales, curves and colours.
@Suite struct ScaleTests {
  @Test(arguments: [[1.0, 4, 9], [-3, 0, 12], [1e-9, 2e-3, 5], [7], [0], [1e-150, 1e149]]) func monotone(_ values: [Double]) {
    for ratio in [10, Double.infinity] {
      let scale = Scale(covering: values, logarithmicFrom: ratio)
      let fractions = values.sorted().map(scale.fraction)
      #expect(fractions.allSatisfy { $0 >= -1e-9 && $0 <= 1 + 1e-9 })
      for (a, b) in zip(fractions, fractions.dropFirst()) { #expect(a < b) }
      let ticks = scale.ticks(5)
      for (a, b) in zip(ticks, ticks.dropFirst()) { #expect(a.value < b.value && a.label != b.label) }
      #expect(ticks.allSatisfy { scale.fraction($0.value) > -0.01 && scale.fraction($0.value) < 1.01 } && ticks.count <= 40)
    }
  }

  @Test func logarithmicWhereTheRatioAsksForIt() {
    #expect(Scale(covering: [1, 20], logarithmicFrom: 10).kind == .logarithmic)
    #expect(Scale(covering: [1, 5], logarithmicFrom: 10).kind == .linear)
    #expect(Scale(covering: [0, 20], logarithmicFrom: 10).kind == .linear)
    // Decades are equally far apart.
    let scale = Scale(kind: .logarithmic, lower: 1, upper: 1000)
    #expect(abs(scale.fraction(10) - 1.0 / 3) < 1e-12 && abs(scale.fraction(100) - 2.0 / 3) < 1e-12)
    #expect(Scale(kind: .linear, lower: 0, upper: 10).ticks(5).map(\.label) == ["0", "2", "4", "6", "8", "10"])
  }

  @Test func decimationKeepsExtremesAndEnds() {
    var points = (0..<10_000).map { Point(Double($0), Double($0 * 7919 % 101)) }
    points[1234].y = 1e6
    points[8765].y = -1e6
    let kept = decimated(points, to: 500)
    #expect(kept.count <= 500 && kept.count > 400)
    #expect(kept.contains(points[1234]) && kept.contains(points[8765]))
    #expect(kept.first == points.first && kept.last == points.last)
    for (a, b) in zip(kept, kept.dropFirst()) { #expect(a.x < b.x) }
    #expect(decimated(Array(points.prefix(10)), to: 500) == Array(points.prefix(10)))
  }

  /// Against sums written out.
  @Test func smoothing() {
    let points = [3.0, 1, 4, 1, 5, 9, 2, 6].enumerated().map { Point(Double($0), $1) }
    let smooth = smoothed(points, window: 3)
    for i in points.indices {
      let near = points[max(0, i - 1)...min(points.count - 1, i + 1)].map(\.y)
      #expect(abs(smooth[i].y - near.reduce(0, +) / Double(near.count)) < 1e-12)
    }
    #expect(smoothed([Point(0, .nan), Point(1, 2)], window: 5) == [Point(1, 2)])
    #expect(smoothed([], window: 5).isEmpty)
  }

  @Test func labelsKeepTheirDistance() {
    let places = separated([50, 51, 52, 10, 99], gap: 14, height: 100)
    let sorted = places.sorted()
    for (a, b) in zip(sorted, sorted.dropFirst()) { #expect(b - a >= 14 - 1e-9) }
    #expect(sorted.last == 100 || (sorted.last ?? 0) <= 100)
    // Their order stays.
    #expect(places[3] < places[0] && places[0] < places[1] && places[1] < places[2] && places[2] < places[4])
  }

  /// WCAG asks for 4.5 of small text; curves need 3 on the paper.
  @Test(arguments: Palette.Scheme.allCases) func contrasts(_ scheme: Palette.Scheme) throws {
    let colours = Palette.colours(scheme)
    func colour(_ role: String) throws -> Palette.Colour { try #require(colours.first { $0.role == role }).colour }
    let paper = try colour("paper")
    for role in ["ink", "muted"] { #expect(Palette.contrast(try colour(role), paper) >= 4.5, "\(role)") }
    for i in 0..<Palette.categories { #expect(Palette.contrast(try colour("c\(i)"), paper) >= 3, "c\(i)") }
    var last = 0.0
    for level in 0..<Palette.levels {
      let heat = try colour("h\(level)")
      #expect(Palette.contrast(heat, try colour("n\(level)")) >= 4.5, "\(level)")
      // More of the quantity stands out more.
      #expect(Palette.contrast(heat, paper) > last)
      last = Palette.contrast(heat, paper)
    }
  }

  @Test func modulesAsATable() {
    let grid = ModuleGrid([
      "model.layers.10.mlp.down_proj", "model.layers.2.mlp.down_proj", "model.layers.2.self_attn.v_proj", "lm_head",
      "model.layers.2.cross.v_proj.weight",
    ])
    #expect(grid.layers == [-1, 2, 10] && grid.layerNames == ["–", "2", "10"])
    #expect(Set(grid.kinds).count == 4 && grid.places.map(\.layer) == [2, 1, 1, 0, 1])
    #expect(
      grid.kinds[grid.places[2].kind].hasSuffix("self_attn.v_proj") && grid.kinds[grid.places[4].kind].hasSuffix("cross.v_proj"))
  }

  @Test func groupsLeaveTheSeedOut() {
    #expect(RunLabel("seed-0/gora").group == "gora" && RunLabel("a/seed_12/b").group == "a/b")
    #expect(RunLabel("seed-0").group == "seed-0" && RunLabel("seedling/x").group == "seedling/x")
  }
}
