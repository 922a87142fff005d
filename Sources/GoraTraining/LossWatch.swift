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
  private var seen = 0
  /// Of the window that is being filled: the mean of its losses, and the sum of their squared distances from it (Welford).
  private var mean = 0.0
  private var squares = 0.0
  /// Variances within windows, summed.
  private var variances = 0.0
  private var first: Window?
  private var lowest: Window?

  /// - Parameter steps: of the run.
  package init(steps: Int) { length = max(Self.leastWindow, steps / 40) }

  /// Takes in the loss of the next step.
  /// - Returns: what has risen, where a window ended with this step and it has.
  package mutating func add(_ loss: Double) -> Rise? {
    let distance = loss - mean
    mean += distance / Double(seen % length + 1)
    squares += distance * (loss - mean)
    seen += 1
    guard seen % length == 0 else { return nil }
    variances += squares / Double(length - 1)
    let window = Window(steps: seen - length + 1...seen, mean: mean)
    (mean, squares) = (0, 0)
    guard let first, let lowest else {
      (first, lowest) = (window, window)
      return nil
    }
    if window.mean < lowest.mean {
      self.lowest = window
      return nil
    }
    let noise = variances / Double(seen / length)
    let least = max((first.mean - lowest.mean) / 2, first.mean / 10, 6 * (2 * noise / Double(length)).squareRoot())
    return window.mean - lowest.mean > least ? Rise(from: lowest, to: window) : nil
  }

  // MARK: Checkpoints

  /// All of it as text.
  package var description: String {
    let windows = [first, lowest].compactMap { $0 }.flatMap { [UInt64($0.steps.lowerBound), $0.mean.bitPattern] }
    return ([mean.bitPattern, squares.bitPattern, variances.bitPattern] + windows).map { "\($0)" }.joined(separator: " ")
  }

  /// - Parameter step: after which the text was written.
  /// - Returns: false where the text is none that `description` gives; an empty one is of a run before its first step.
  package mutating func restore(_ description: String, step: Int) -> Bool {
    if description.isEmpty { return step == 0 }
    let numbers = description.split(separator: " ").compactMap { UInt64($0) }
    guard numbers.count == (step < length ? 3 : 7) else { return false }
    let sums = numbers[..<3].map { Double(bitPattern: $0) }
    guard sums.allSatisfy(\.isFinite), sums[1] >= 0, sums[2] >= 0 else { return false }
    func window(_ at: Int) -> Window? {
      let (start, mean) = (Int(clamping: numbers[at]), Double(bitPattern: numbers[at + 1]))
      guard start >= 1, start <= step - length + 1, mean.isFinite else { return nil }
      return Window(steps: start...start + length - 1, mean: mean)
    }
    if step >= length {
      guard let one = window(3), let other = window(5) else { return false }
      (first, lowest) = (one, other)
    }
    (mean, squares, variances, seen) = (sums[0], sums[1], sums[2], step)
    return true
  }
}
