/// What of a row is learnt (`--learn`); rows of token ids and plain texts say so themselves.
package enum LearntPart: String, Sendable, CaseIterable {
  /// Answers, and the token that ends them.
  case answers
  /// What is asked too, as LLM-Adapters' `train_on_inputs`.
  case all
  /// Of answers the code in fences alone, the fences with it.
  case code

  /// Byte ranges of an answer that are learnt.
  func ranges(in answer: ArraySlice<UInt8>) -> [Range<Int>] {
    self == .code ? Self.fenced(answer) : [answer.startIndex..<answer.endIndex]
  }

  /// From each line that begins with three back-ticks to the next that has nothing else but a token that ends the turn (`<|im_end|>`), or to
  /// the end.
  private static func fenced(_ text: ArraySlice<UInt8>) -> [Range<Int>] {
    let fence = Array("```".utf8)
    var blocks: [Range<Int>] = []
    var open: Int?
    for line in text.split(separator: 0x0A, omittingEmptySubsequences: false) {
      let words = line.drop { $0 == 0x20 || $0 == 0x09 }
      guard words.starts(with: fence) else { continue }
      if let start = open {
        let rest = words.dropFirst(fence.count)
        let next = rest.first { $0 != 0x20 && $0 != 0x09 && $0 != 0x0D }
        guard next == nil || next == UInt8(ascii: "<") else { continue }
        blocks.append(start..<rest.startIndex)
        open = nil
      } else {
        open = words.startIndex
      }
    }
    if let open { blocks.append(open..<text.endIndex) }
    return blocks
  }
}
