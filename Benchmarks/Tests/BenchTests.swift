import Testing

@testable import gora_bench

@Suite struct BenchTests {
  /// The 110M shape has 84,934,656 weights in its linears, 28,311,552 of them in q, k, v and o, and 24,576,000 in its projection.
  @Test func gradientOperationsOfTheSmallModel() {
    let count = Operations.gradients(.known("110m"), [.init(tokens: 512, labelled: 511)])
    let linears: Double = 1024 * (2 * 84_934_656 - 3 * 589_824 + 28_311_552)
    let projection: Double = 4 * 511 * 24_576_000
    #expect(count.linear == linears + projection)
    // 131,328 pairs, 6 products of 2 operations, 768 wide, 12 layers.
    let attention: Double = 12 * 131_328 * 768 * 12
    #expect(count.attention == attention)
    // "About 265 GFLOP".
    #expect(abs(count.total / 265e9 - 1) < 0.01)
  }

  /// Rows are counted by their own lengths: two of 100 tokens see each other's tokens no more than one of 100 does.
  @Test func operationsAddUpOverRows() {
    let row = Operations.Sequence(tokens: 100, labelled: 30)
    let one = Operations.adapterTraining(.known("15m"), [row], rank: 8)
    let two = Operations.adapterTraining(.known("15m"), [row, row], rank: 8)
    #expect(two.linear == 2 * one.linear)
    #expect(two.attention == 2 * one.attention)
    // The adapter's share: 2·100·8·(3·6·4·576 − 3·288) more than what no adapter of rank 0 needs.
    let bare = Operations.adapterTraining(.known("15m"), [row], rank: 0)
    let share: Double = 1600 * (3 * 6 * 4 * 576 - 3 * 288)
    #expect(one.linear - bare.linear == share)
  }

  /// One prompt of one token that is continued by one: every weight and the projection once, one pair of attention.
  @Test func generationOperations() {
    let count = Operations.generation(.known("110m"), prompts: 1, length: 1, new: 1)
    let (linear, attention): (Double, Double) = (219_021_312, 36_864)
    #expect(count.linear == linear)
    #expect(count.attention == attention)
  }

  /// Meta's Llama 3.1 8B has 8,030,261,248 parameters; 110m is the sum above with its 25 norms.
  @Test func parametersOfThePresets() {
    #expect(ModelPreset.known("llama-3.1-8b").parameters == 8_030_261_248)
    // As SmolLM2-135M's model card has it.
    #expect(ModelPreset.known("135m").parameters == 134_515_008)
    #expect(ModelPreset.known("110m").parameters == 84_934_656 + 24_576_000 + 25 * 768)
  }

  @Test func medianAndSpread() {
    #expect(Sample([3, 1, 2]).median == 2)
    #expect(Sample([4, 1, 2, 3]).median == 2.5)
    #expect(Sample([9, 10, 11]).spread == 0.1)
    #expect(Sample().median.isNaN)
    #expect(Sample([1]).spread.isNaN)
  }

  @Test func tableLayout() {
    var table = TextTable(["work", "gora", "peer"])
    table.append(["grad", "1234", "5"])
    table.append(["a longer name", "-", ""])
    #expect(
      table.text == """
        work           gora  peer
        grad           1234     5
        a longer name     -

        """)
  }

  @Test func selection() {
    #expect(Selection("all").rows.count == Row.all.count)
    #expect(!Selection("all").wants("8b"))
    #expect(Selection("grad-110m").rows.map(\.name) == ["grad-110m-f32", "grad-110m-bf16"])
    #expect(Selection("generate,scaling").wants("scaling"))
    #expect(
      Selection("gsm8k").rows.map(\.name) == [
        "grad-gsm8k-15m-bf16", "train-gsm8k-15m-bf16", "grad-gsm8k-135m-bf16", "train-gsm8k-135m-bf16",
      ])
    #expect(Selection("110").unknown == "110")
    #expect(Selection("quick,8b,floor").unknown == nil)
  }
}
