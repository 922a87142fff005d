import Glibc

extension Rendering {
  /// Calls a function that every template knows.
  mutating func call(_ function: JinjaFunction.Kind, _ values: CallValues) throws(JinjaError) -> JinjaValue {
    switch function {
    case .range: return try range(values)
    case .dict: return try dict(values)
    case .namespace:
      guard case .dict(let dict) = try dict(values) else { return .none }
      var entries: [(name: String, value: JinjaValue)] = []
      for entry in dict.entries {
        guard case .string(let name) = entry.key else { throw JinjaError("a namespace's attribute is no string") }
        if name.first == "_" { throw JinjaError("the namespace attribute \"\(name)\" begins with an underscore") }
        entries.append((name, entry.value))
      }
      let namespace = JinjaNamespace(entries)
      track(namespace)
      return .object(namespace)
    case .raiseException:
      let message = try values.bound(to: ["message"], of: "raise_exception", required: 1)[0] ?? .none
      throw JinjaError("the template raises an exception: \(try string(message))")
    case .strftimeNow:
      let format = try text(try values.bound(to: ["format"], of: "strftime_now", required: 1)[0], of: "strftime_now") ?? ""
      return try made(try date(format))
    case .cycler, .joiner, .lipsum: throw JinjaError("the function \"\(function.rawValue)\" is not supported")
    }
  }

  private mutating func range(_ values: CallValues) throws(JinjaError) -> JinjaValue {
    let parts = try values.bound(to: ["start", "stop", "step"], of: "range", required: 1)
    var numbers: [Int] = []
    for part in parts { if let number = try integer(part, of: "range") { numbers.append(number) } }
    let start = numbers.count > 1 ? numbers[0] : 0
    let stop = numbers.count > 1 ? numbers[1] : numbers[0]
    let step = numbers.count > 2 ? numbers[2] : 1
    if step == 0 { throw JinjaError("the step of a range is 0") }
    let isEmpty = step > 0 ? start >= stop : start <= stop
    let distance = isEmpty ? 0 : step > 0 ? UInt(bitPattern: stop &- start) : UInt(bitPattern: start &- stop)
    let count = isEmpty ? 0 : (distance - 1) / step.magnitude + 1
    if count > 100_000 { throw JinjaError("the range has more than 100000 numbers") }
    try charge(Int(count))
    return .object(JinjaRange(start: start, stop: stop, step: step, count: Int(count)))
  }

  private mutating func dict(_ values: CallValues) throws(JinjaError) -> JinjaValue {
    guard values.positional.count <= 1 else { throw JinjaError("dict takes one argument besides named ones") }
    var entries: [JinjaDict.Entry] = []
    switch values.positional.first {
    case nil: break
    case .dict(let dict)?: entries = dict.entries
    case let value?:
      for item in try items(of: value) {
        let pair = try items(of: item)
        guard pair.count == 2 else { throw JinjaError("dict asks for pairs") }
        try insert(JinjaDict.Entry(pair[0], pair[1]), into: &entries)
      }
    }
    for argument in values.named { try insert(JinjaDict.Entry(argument.name, argument.value), into: &entries) }
    return try made(entries)
  }

  /// `strftime` of Python's `datetime.now()`, which knows no time zone.
  private func date(_ format: String) throws(JinjaError) -> String {
    var seconds = time_t(now ?? JinjaTemplate.present)
    var parts = tm()
    guard gmtime_r(&seconds, &parts) != nil else { throw JinjaError("the time is out of range") }
    var known = ""
    var directive: String?
    for letter in format {
      guard let open = directive else {
        if letter == "%" { directive = "%" } else { known.append(letter) }
        continue
      }
      directive = nil
      switch letter {
      // Of the directives only %f is Python's own.
      case "f": throw JinjaError("the directive %f of strftime_now is not supported")
      case "Z", "z": break
      case "-", "_", "0"..."9", "^", "#", "E", "O": directive = open + String(letter)
      default: known += open + String(letter)
      }
    }
    known += directive.map { "%" + $0 } ?? ""
    if known.isEmpty { return "" }
    var buffer = [CChar](repeating: 0, count: 256 + 32 * min(known.utf8.count, 4096))
    let count = strftime(&buffer, buffer.count, known, &parts)
    return String(decoding: buffer[..<count].map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}

extension JinjaTemplate {
  /// What the clocks on the wall show, in seconds since they showed 1970.
  package static var present: Int {
    var seconds = time(nil)
    var parts = tm()
    return localtime_r(&seconds, &parts) == nil ? seconds : seconds + parts.tm_gmtoff
  }
}
