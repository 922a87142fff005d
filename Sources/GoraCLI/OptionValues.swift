import ArgumentParser
import GoraCore

// What an option takes and what it goes with, in one way for all tools. A range stands where the option is declared,
//
//     @Option(help: …, transform: count()) var steps = 64
//     @Option(help: …, transform: number(0...1)) var lrFloor = 0.1
//
// so that no value outside of it reaches a stage.

/// A whole number of things.
///
/// A billion is more than any run has, and the product of two of them is still an `Int`.
package func count(from least: Int = 1, to most: Int = 1_000_000_000) -> @Sendable (String) throws -> Int {
  { text in
    guard let value = Int(text), least...most ~= value else {
      throw OptionValueError("expected a whole number from \(least) to \(most)")
    }
    return value
  }
}

/// A finite number.
///
/// Numbers that f32 does not hold are outside of every range: a rate of 1e-320 would be 0 there, one of 1e308 infinite.
/// - Parameter orZero: 0 switches something off.
package func number(
  _ range: ClosedRange<Double>, orZero: Bool = false
) -> @Sendable (String) throws -> Double {
  { text in
    guard let value = Double(text), range ~= value || orZero && value == 0 else {
      throw OptionValueError(
        "expected a number from \(NumberText.significant(range.lowerBound, 6)) to \(NumberText.significant(range.upperBound, 6))"
          + (orZero ? ", or 0" : ""))
    }
    return value
  }
}

/// A number that is given, or found by the tool.
package enum Findable: Sendable, Equatable {
  case auto
  case given(Double)

  package var number: Double? { if case .given(let number) = self { number } else { nil } }
}

/// As `number`, or the word `auto`.
package func numberOrAuto(
  _ range: ClosedRange<Double>, orZero: Bool = false
) -> @Sendable (String) throws -> Findable {
  let number = number(range, orZero: orZero)
  return { text in
    if text == "auto" { return .auto }
    do { return .given(try number(text)) } catch { throw OptionValueError("\(error), or auto") }
  }
}

/// A text that says something.
package func text(_ text: String) throws -> String {
  if text.isEmpty { throw OptionValueError("expected a text that is not empty") }
  return text
}

extension ArgumentHelp {
  /// Help of an option whose default is a stage's own: the parser shows none beside `transform`.
  package init(_ abstract: String, valueName: String, standard: some CustomStringConvertible) {
    self.init("\(abstract) (default: \(standard))", valueName: valueName)
  }
}

private struct OptionValueError: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
}

/// Refuses options that were given though nothing would look at them.
/// - Parameter condition: what they go with, as the user would write it.
package func refuseIdle(_ options: KeyValuePairs<String, Bool>, goWith condition: String) throws(GoraError) {
  for (name, isGiven) in options where isGiven {
    throw GoraError(.usage, "\(name) goes with \(condition); nothing would look at it here")
  }
}
