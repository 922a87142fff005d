import GoraMethods
import Testing

@Suite struct GammaSearchTests {
  /// The grid of the authors' code: both values that they report are on it (0.0549 for mathematics, 0.0858 for code).
  @Test func theGridIsTheAuthors() {
    let grid = GammaSearch.candidates
    #expect(grid.count == 52 && grid.first == 1)
    #expect(zip(grid, grid.dropFirst()).allSatisfy { abs($1 / $0 - 0.8) < 1e-12 })
    #expect((grid.last ?? 0) >= 1e-5 && (grid.last ?? 1) * 0.8 < 1e-5)
    #expect(abs((grid.last ?? 0) - 1.14e-5) < 5e-8)
    #expect(abs(grid[13] - 0.0549755813888) < 1e-12 && abs(grid[11] - 0.0858993459) < 1e-9)
  }

  @Test func theLeastLossBelowTheBaseIsChosen() {
    // A parabola with its bottom at 0.06: of the grid, 0.0549… is nearest (0.0687 lies further off).
    let search = GammaSearch(baseLoss: 2) { 2 - 0.12 * $0 + $0 * $0 }
    #expect(search.best.gamma == GammaSearch.candidates[13] && search.best.loss < 2)
    #expect(search.curve.map(\.gamma) == GammaSearch.candidates)
  }

  @Test func whereNoStepHelpsThereIsNone() {
    #expect(GammaSearch(baseLoss: 1) { 1 + $0 }.best == GammaSearch.Point(gamma: 0, loss: 1))
    #expect(GammaSearch(baseLoss: 1) { _ in 1 }.best.gamma == 0, "as good as the base is not better")
    #expect(GammaSearch(baseLoss: 1) { _ in .nan }.best.gamma == 0)
  }

  @Test func lossesThatAreNotFiniteLose() {
    let search = GammaSearch(baseLoss: 1) { $0 > 0.5 ? .nan : $0 > 0.2 ? .infinity : 1 - $0 }
    #expect(search.best.gamma == GammaSearch.candidates.first { $0 <= 0.2 })
  }

  @Test func ofEqualsTheLargerStepIsChosen() {
    #expect(GammaSearch(baseLoss: 1) { $0 < 0.3 ? 0.5 : 0.9 }.best.gamma == GammaSearch.candidates.first { $0 < 0.3 })
  }
}
