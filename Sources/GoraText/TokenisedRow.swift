import GoraCore
import GoraFormats

/// Rows that are token ids already: `input_ids` and `labels`, as Transformers' collators make them.
enum TokenisedRow {
  /// One row, or the rows of a packed one.
  ///
  /// - Padding, of which `attention_mask` is 0, is left out on either side.
  /// - Rows that were packed into one, told by `position_ids` that begin anew or by `seq_lengths` (TRL), are taken apart, so that no one
  ///   attends to another.
  ///
  /// - Parameter hasEncoder: the ids are an encoder's and the labels a decoder's, with a length of their own.
  /// - Throws: status 65 with the place where the arrays do not belong together, and for masks and positions that say something else.
  static func rows(_ row: JSONField, vocabularySize: Int?, hasEncoder: Bool = false) throws(GoraError) -> [DataRow] {
    let limit = min(vocabularySize ?? Int(Int32.max), Int(Int32.max))
    let ids = try numbers(try row.required("input_ids"), "a token id from 0 to \(limit - 1)") { (0..<limit).contains($0) }
    func beside(_ field: JSONField, _ expected: String, _ isValid: (Int) -> Bool) throws(GoraError) -> [Int32] {
      let numbers = try numbers(field, expected, isValid)
      guard numbers.count == ids.count else {
        throw field.error("\(field.name) has \(numbers.count) elements, \"input_ids\" has \(ids.count)")
      }
      return numbers
    }
    func isLabel(_ number: Int) -> Bool { number == Int(DataRow.notLearnt) || (0..<limit).contains(number) }
    let expected = "-100 or a token id from 0 to \(limit - 1)"
    let labels =
      hasEncoder
      ? try numbers(row.required("labels"), expected, isLabel) : try beside(row.required("labels"), expected, isLabel)
    var kept = 0..<ids.count
    if let field = try row.optional("attention_mask") {
      let mask = try beside(field, "0 or 1") { $0 == 0 || $0 == 1 }
      let first = mask.firstIndex(of: 1) ?? mask.endIndex
      kept = first..<(mask.lastIndex(of: 1).map { $0 + 1 } ?? first)
      if let hole = mask[kept].firstIndex(of: 0) {
        throw field.error("\(field.name) is 0 at \(hole), between tokens; expected zeros at the ends alone")
      }
    }
    if hasEncoder {
      for key in ["position_ids", "seq_lengths", "decoder_input_ids", "decoder_attention_mask"] {
        guard let field = try row.optional(key) else { continue }
        throw field.error("\(field.name) is not read beside an encoder's ids", hint: "the decoder's input is made of the labels")
      }
      return [.tokens(ids: Array(ids[kept]), labels: labels)]
    }
    var starts = [kept.lowerBound]
    if let field = try row.optional("position_ids") {
      let positions = try beside(field, "a position from 0") { (0..<Int(Int32.max)).contains($0) }
      for i in kept {
        if positions[i] == 0 {
          if i > kept.lowerBound { starts.append(i) }
        } else if i == kept.lowerBound || positions[i] != positions[i - 1] + 1 {
          throw field.error(
            "\(field.name) is \(positions[i]) at \(i); expected 0, 1, 2, …, from 0 again where another row begins")
        }
      }
    }
    if let field = try row.optional("seq_lengths") {
      var ends: [Int] = []
      for length in try numbers(field, "a length from 1", { (1...Int(Int32.max)).contains($0) }) {
        ends.append((ends.last ?? 0) + Int(length))
      }
      guard ends.last == ids.count else {
        throw field.error("\(field.name) are \(ends.last ?? 0) together, \"input_ids\" has \(ids.count) elements")
      }
      let own = [kept.lowerBound] + ends.dropLast().filter { kept.dropFirst().contains($0) }
      if starts.count > 1, starts != own {
        throw field.error("\(field.name) and \"position_ids\" do not begin rows at the same places")
      }
      starts = own
    }
    return zip(starts, starts.dropFirst() + [kept.upperBound]).map { start, end in
      .tokens(ids: Array(ids[start..<end]), labels: Array(labels[start..<end]))
    }
  }

  private static func numbers(
    _ field: JSONField, _ expected: String, _ isValid: (Int) -> Bool
  ) throws(GoraError) -> [Int32] {
    guard case .array(let elements) = field.value.content else { throw field.error("\(field.name) must be an array") }
    var numbers: [Int32] = []
    numbers.reserveCapacity(elements.count)
    for (i, element) in elements.enumerated() {
      guard case .integer(let number) = element.content, isValid(number) else {
        let bad = try field.elements[i]
        throw bad.error("\(bad.name) is \(element.compact()); expected \(expected)")
      }
      numbers.append(Int32(number))
    }
    return numbers
  }
}
