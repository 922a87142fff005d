extension JSON {
  /// A number that is written without a fraction where it has none: `16`, `0.5`.
  package init(whole value: Double) {
    self.init(Int(exactly: value).map { .integer($0) } ?? .number(value))
  }

  /// As Python's `json.dumps(value, indent=2, sort_keys=True)`, which is how PEFT writes its configurations, and a newline.
  package func indentedSorted() -> String {
    var out = ""
    writeIndentedSorted(into: &out, pad: "\n")
    out += "\n"
    return out
  }

  private func writeIndentedSorted(into out: inout String, pad: String) {
    let inner = pad + "  "
    switch content {
    case .array(let elements) where !elements.isEmpty:
      out += "["
      for (i, element) in elements.enumerated() {
        out += i > 0 ? "," + inner : inner
        element.writeIndentedSorted(into: &out, pad: inner)
      }
      out += pad + "]"
    case .object(let members) where !members.isEmpty:
      out += "{"
      // Python sorts by code point, as UTF-8 does.
      for (i, member) in members.sorted(by: { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }).enumerated() {
        out += i > 0 ? "," + inner : inner
        JSON.quote(member.key, into: &out)
        out += ": "
        member.value.writeIndentedSorted(into: &out, pad: inner)
      }
      out += pad + "}"
    default: out += compact()
    }
  }
}
