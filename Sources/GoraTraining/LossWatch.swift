/// Whether a run's loss goes up again: it has given back half of what it had gained, which a rate that is too high does to it, and neither
/// noise nor a harder batch.
///
/// Losses of steps are averaged over windows of a fortieth of the run. The last window is held against the lowest one: the difference
/// must be half of the lowest one's gain over the first, a tenth of the first, and six of its own standard errors, by the noise within
/// windows: the lowest of many lies low by chance.
package struct LossWatch: Sendable {
  /// Steps in a row, by the mean of their losses.
  package struct Window: Sendable, Equatable {
    package var steps: ClosedRange<Int>
    package var mean: Double
  }

  /// The lowest window, and the one that is far above it.
  package struct Rise: Sendable, Equatable {
    package var from: Window
    package var to: Window
  }

  /// Shorter windows say nothing of their own noise.
  private static let leastWindow = 8
  private let length: Int
  /// Of the window that is being filled.
  private var losses: [Double] = []
  private var seen = 0
  /// Variances within windows, summed.
  private var variances = 0.0
  private var first: Window?
  private var lowest: Window?

  /// - Parameter steps: of the run.
  package init(steps: Int) { length = max(Self.leastWindow, steps / 40) }

  /// Takes in the loss of the next step.
  /// - Returns: what has risen, where a window ended with this step and it has.
  package mutating func add(_ loss: Double) -> Rise? {
    losses.append(loss)
    seen += 1
    guard losses.count == length else { return nil }
    let mean = losses.reduce(0, +) / Double(length)
    let squares = losses.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    variances += squares / Double(length - 1)
    let window = Window(steps: seen - length + 1...seen, mean: mean)
    losses.removeAll(keepingCapacity: true)
    guard let first, let lowest else {
      (first, lowest) = (window, window)
      return nil
    }
    if mean < lowest.mean {
      self.lowest = window
      return nil
    }
    let noise = variances / Double(seen / length)
    let least = max((first.mean - lowest.mean) / 2, first.mean / 10, 6 * (2 * noise / Double(length)).squareRoot())
    return mean - lowest.mean > least ? Rise(from: lowest, to: window) : nil
  }

  // MARK: Checkpoints

  /// All of it as text.
  package var description: String {
    let windows = [first, lowest].compactMap { $0 }.flatMap { [UInt64($0.steps.lowerBound), $0.mean.bitPattern] }
    return ([variances.bitPattern] + windows + losses.map(\.bitPattern)).map { "\($0)" }.joined(separator: " ")
  }

  /// - Parameter step: after which the text was written.
  /// - Returns: false where the text is none that `description` gives; an empty one is of a run before its first step.
  package mutating func restore(_ description: String, step: Int) -> Bool {
    if description.isEmpty { return step == 0 }
    let numbers = description.split(separator: " ").map { UInt64($0) }
    let windows = step < length ? 0 : 4
    guard !numbers.contains(nil), numbers.count == 1 + windows + step % length else { return false }
    func number(_ at: Int) -> Double { Double(bitPattern: numbers[at] ?? 0) }
    func window(_ at: Int) -> Window? {
      let start = Int(clamping: numbers[at] ?? 0)
      guard start >= 1, start <= step - length + 1, number(at + 1).isFinite else { return nil }
      return Window(steps: start...start + length - 1, mean: number(at + 1))
    }
    let losses = (1 + windows..<numbers.count).map(number)
    guard number(0) >= 0, number(0).isFinite, losses.allSatisfy(\.isFinite) else { return false }
    if windows > 0 {
      guard let one = window(1), let other = window(3) else { return false }
      (first, lowest) = (one, other)
    }
    (variances, self.losses, seen) = (number(0), losses, step)
    return true
  }
}
