import GoraCore
import GoraFormats
import GoraModels
import GoraReport

/// One input of gora-report, read.
struct ReportInput {
  enum Content {
    case plan(RankPlan)
    case scores(ScoreTable)
    case gradients(GradientSteps, GradientTrack?)
    case metrics([MetricsLine])
    case adapter(AdapterHeader)
    case result(JSONField)
    /// Of the file whose name it has: `grad.h5.seconds`, `grad.h5.peak`.
    case seconds(Double), peakBytes(Double)
    /// Why it is not used.
    case skipped(String)
  }

  var path: String
  var content: Content
  /// Names of the tools that it came through, its own last.
  var tools: [String] = []

  /// For the list of inputs.
  var kind: String {
    switch content {
    case .plan: "rank plan"
    case .scores: "scores"
    case .gradients: "gradients: their steps"
    case .metrics(let lines): "metrics of \(lines.count) steps"
    case .adapter(let header): "adapter of \(header.modules.count) modules"
    case .result: "result"
    case .seconds: "time of a stage"
    case .peakBytes: "memory of a stage"
    case .skipped(let reason): "not used: \(reason)"
    }
  }
}

/// A line of `--log`.
struct MetricsLine {
  var step: Double
  var loss: Double?
  var validationLoss: Double?
  /// A trial of the search for the rate, and what was found.
  var trial: RateSearchRecord.Trial?
  var found: Double?
}

/// Finds what the stages wrote below the arguments, each file told by its content.
struct ReportScanner {
  private static let depthLimit = 64

  private let events: EventHandler
  /// An earlier report in a folder is no input of the next.
  private let output: String?
  private(set) var inputs: [ReportInput] = []
  /// Files in folders that no stage wrote.
  private(set) var others = 0
  private var seen: Set<String> = []

  /// - Throws: status 66 for an argument that is missing; 65 for one that is a stage's file but cannot be read.
  init(_ arguments: [String], output: String?, events: @escaping EventHandler) throws(GoraError) {
    self.output = output
    self.events = events
    for argument in arguments {
      let path = Self.normalised(argument)
      if try FileProbe(path) == .folder { try folder(path, depth: 0) } else { try file(path, isArgument: true) }
    }
  }

  /// Without `.` and doubled slashes, so that equal paths read alike.
  private static func normalised(_ path: String) -> String {
    let parts = path.split(separator: "/").filter { $0 != "." }
    let text = parts.joined(separator: "/")
    return path.hasPrefix("/") ? "/" + text : text.isEmpty ? "." : text
  }

  private mutating func folder(_ path: String, depth: Int) throws(GoraError) {
    let isAdapter = AdapterHeader.isAdapter(path)
    if isAdapter, seen.insert(path).inserted {
      do throws(GoraError) { inputs.append(try Self.adapter(path)) } catch {
        if depth == 0 { throw error }
        leaveOut(path, error)
      }
    }
    for name in try FileProbe.names(in: path) {
      let inner = path == "." ? name : path == "/" ? "/\(name)" : "\(path)/\(name)"
      // A link to a folder may lead back up.
      let (isFolder, kind): (Bool, FileProbe)
      do throws(GoraError) {
        isFolder = try FileProbe(inner, followsLinks: false) == .folder
        kind = try FileProbe(inner)
      } catch {
        leaveOut(inner, error)
        continue
      }
      if isFolder {
        if depth < Self.depthLimit { try folder(inner, depth: depth + 1) }
        continue
      }
      if kind == .regular {
        if let output, FileProbe.isSame(inner, output) {
          if try Self.isReport(inner) { continue }
          throw GoraError(
            .usage, at: .file(output), "the output is also the input \"\(inner)\", and no earlier report",
            hint: "name another output")
        }
        // Read as a folder already.
        if isAdapter, name == "adapter_config.json" || name == "adapter_model.safetensors" { continue }
        do throws(GoraError) { try file(inner, isArgument: false) } catch { leaveOut(inner, error) }
      }
    }
  }

  /// A broken file in a folder does not keep the others from being shown.
  private mutating func leaveOut(_ path: String, _ error: GoraError) {
    events(.warning("left out: \(error.description)"))
    inputs.append(ReportInput(path: path, content: .skipped(error.problem)))
  }

  private mutating func file(_ path: String, isArgument: Bool) throws(GoraError) {
    guard seen.insert(path).inserted else { return }
    let input = try recognised(path)
    if case .skipped(let reason) = input.content {
      let text = "\(path): left out: \(reason)"
      events(isArgument ? .warning(text) : .note(text))
      if !isArgument {
        others += 1
        return
      }
    }
    inputs.append(input)
  }

  private func recognised(_ path: String) throws(GoraError) -> ReportInput {
    func skipped(_ reason: String) -> ReportInput { ReportInput(path: path, content: .skipped(reason)) }
    let (head, size) = try FileProbe.beginning(of: path, count: 1 << 16)
    if head.isEmpty { return skipped("empty") }
    if head.starts(with: [0x89, 0x48, 0x44, 0x46, 0x0D, 0x0A, 0x1A, 0x0A]) {
      let reader = try GradientFileReader(path: path)
      let records = try reader.attribute("provenance").map { text throws(GoraError) in try Provenance(text: text, path: path) }
      return ReportInput(path: path, content: .gradients(try reader.steps(), try reader.track()), tools: Self.tools(records))
    }
    if let number = Self.number(head), size < 64 {
      if path.hasSuffix(".seconds") { return ReportInput(path: path, content: .seconds(number)) }
      if path.hasSuffix(".peak") { return ReportInput(path: path, content: .peakBytes(number)) }
    }
    guard head.first(where: { $0 > 0x20 }) == UInt8(ascii: "{") else { return skipped("not written by a stage") }
    if let lines = try metrics(path, head: head) { return ReportInput(path: path, content: .metrics(lines)) }
    let firstLine = head.prefix { $0 != 0x0A }
    let isLines = firstLine.count < head.count && (try? JSONDocument(path: path, text: Array(firstLine))) != nil
    if isLines, !Self.namesFormat(firstLine) {
      return skipped("not written by a stage")
    }
    guard size <= FileLimit.configuration else { return skipped("a JSON file of \(size) bytes") }
    let text = try readWholeFile(path)
    guard let document = try? JSONDocument(path: path, text: text),
      let format = try? document.root.optional("format")?.string
    else { return skipped("not written by a stage") }
    switch format {
    case RankPlan.format:
      let plan = try RankPlan(reading: document.root)
      return ReportInput(path: path, content: .plan(plan), tools: Self.tools(plan.provenance))
    case ScoreTable.format:
      let scores = try ScoreTable(reading: document.root)
      return ReportInput(path: path, content: .scores(scores), tools: Self.tools(scores.provenance))
    case "gora-result":
      let records = try document.root.optional("provenance").map { field throws(GoraError) in try Provenance(reading: field) }
      return ReportInput(path: path, content: .result(document.root), tools: Self.tools(records))
    default: return skipped("format \"\(format)\"")
    }
  }

  private static func namesFormat(_ line: ArraySlice<UInt8>) -> Bool {
    String(decoding: line, as: UTF8.self).contains("\"format\"")
  }

  /// The lines of a metrics file; nil where its first is not one.
  private func metrics(_ path: String, head: [UInt8]) throws(GoraError) -> [MetricsLine]? {
    func line(_ text: ArraySlice<UInt8>) -> MetricsLine? {
      guard let root = try? JSONDocument(path: path, text: Array(text)).root, let step = try? root.optional("step")?.double
      else { return nil }
      let loss = try? root.optional("loss")?.double
      let validation = try? root.optional("validation_loss")?.double
      // Lines of AdaLoRA's ranks have neither.
      let hasRanks = (try? root.optional("ranks")) != nil
      let trial = (try? root.optional("trial")).flatMap { TrialRecord.reported($0.value) }
      let found = try? root.optional("found")?.optional("lr")?.double
      if loss == nil, validation == nil, !hasRanks, trial == nil, found == nil { return nil }
      return MetricsLine(step: step, loss: loss, validationLoss: validation, trial: trial, found: found)
    }
    guard line(head.prefix { $0 != 0x0A }) != nil else { return nil }
    var lines: [MetricsLine] = []
    var bad = 0
    let texts = try readWholeFile(path, limit: FileLimit.companion).split(separator: 0x0A, omittingEmptySubsequences: true)
    for (i, text) in texts.enumerated() {
      if let read = line(text) {
        lines.append(read)
      } else if i + 1 < texts.count {
        // The last line of a run that is still going may be half of one.
        bad += 1
      }
    }
    if bad > 0 { events(.warning("\(path): \(bad) of \(texts.count) lines are no metrics, and were left out")) }
    return lines
  }

  /// Whether a file is a page, a picture or a text of gora-report, or nothing yet.
  private static func isReport(_ path: String) throws(GoraError) -> Bool {
    let (head, _) = try FileProbe.beginning(of: path, count: 64)
    return head.first { $0 > 0x20 }.map { $0 == UInt8(ascii: "<") } ?? true || head.starts(with: Array("gora report".utf8))
  }

  private static func adapter(_ path: String) throws(GoraError) -> ReportInput {
    let header = try AdapterHeader(readingFolder: path, kinds: AdapterKinds.all)
    return ReportInput(path: path, content: .adapter(header), tools: tools(header.provenance))
  }

  private static func number(_ bytes: [UInt8]) -> Double? {
    let text = String(decoding: bytes.prefix(64), as: UTF8.self).filter { !$0.isWhitespace }
    return Double(text).flatMap { $0.isFinite && $0 >= 0 ? $0 : nil }
  }

  private static func tools(_ provenance: Provenance?) -> [String] {
    (provenance?.records ?? []).compactMap { $0["tool"]?.text }
  }
}
