import GoraCore
import GoraFormats
import GoraStages

/// Everything that was measured, as text and as JSON.
struct Report {
  let machine: Machine
  /// The peer's libraries with their versions.
  var peer: String?
  var floor = Floor()
  /// How far the products' rates before and after the rows are apart.
  var floorChange = Sample()
  var rows: [RowResult] = []
  var scaling: [Measured] = []
  var startup: Measured?
  var chat: Measured?
  var blocks: Measured?
  var large: Measured?
  var loadAfter = 0.0

  init(machine: Machine) { self.machine = machine }

  var opening: String { machine.text + (peer.map { "peer: \($0)\n" } ?? "") }

  var floorTable: String {
    let threads = floor.readRates.map(\.threads)
    let dtypes = floor.products.contains(where: \.isBFloat16) ? [false, true] : [false]
    var header = ["product: tokens x in x out"]
    for isBFloat16 in dtypes { header += threads.map { "\(isBFloat16 ? "bf16" : "f32"), \($0) thr" } }
    var table = TextTable(header)
    let first = floor.products.filter { $0.threads == threads.first && !$0.isBFloat16 }
    for shape in first {
      var cells = ["\(shape.preset): \(shape.tokens) x \(shape.in) x \(shape.out)"]
      for isBFloat16 in dtypes {
        for count in threads {
          let match = floor.products.first {
            $0.preset == shape.preset && $0.tokens == shape.tokens && $0.in == shape.in && $0.out == shape.out
              && $0.isBFloat16 == isBFloat16 && $0.threads == count
          }
          cells.append(fixed((match?.rate ?? .nan) / 1e9, 0))
        }
      }
      table.append(cells)
    }
    var text = "The machine's own matrix products, GFLOP/s\n\n" + table.text
    if dtypes.count == 1 { text += "no bf16 unit is used here: rows in bf16 are held against the f32 rates\n" }
    text +=
      "reading memory: "
      + floor.readRates.map { "\(fixed($0.bytesPerSecond / 1e9, 1)) GB/s with \($0.threads)" }
      .joined(separator: ", ") + "\n"
    return text
  }

  /// Speed, memory, and what stands between them and the machine.
  var rowTables: String {
    var speed = TextTable([
      "tokens/s", "gora", "+-", "peer", "+-", "ratio", "+-", "least", "aim", "GFLOP/s", "of best", "of floor",
    ])
    var memory = TextTable(["peak memory, MiB", "gora", "peer", "ratio", "anonymous", "peer's", "estimate", "anonymous"])
    for result in rows {
      speed.append([
        result.row.name, fixed(result.speed.median, 0), percent(result.speed.spread), fixed(result.peerSpeed.median, 0),
        percent(result.peerSpeed.spread), fixed(result.ratio.median, 2), percent(result.ratio.spread),
        fixed(result.row.target.least, 1), fixed(result.row.target.aim, 1), fixed(result.operationRate / 1e9, 0),
        percent(result.shareOfBest(floor)), percent(result.shareOfFloor(floor, threads: machine.cores)),
      ])
      memory.append([
        result.row.name, mebibytes(result.peak.median), mebibytes(result.peerPeak.median),
        fixed(result.peak.median / result.peerPeak.median, 2), mebibytes(result.anonymousPeak.median),
        mebibytes(Sample(result.peer.map { Double($0.peakAnonymousBytes) }).median), fixed(result.estimateOverPeak, 2),
        fixed(result.anonymousEstimateOverPeak, 2),
      ])
    }
    var text = "Speed: steady state, medians of \(rows.map(\.gora.count).max() ?? 0) runs, each a process of its own\n\n"
    text += speed.text + "\n" + memory.text
    text += "estimate: the announced peak over the measured one, of all resident memory and of anonymous memory\n"
    return text
  }

  var closing: String {
    let spreads = Sample(rows.flatMap { [$0.speed.spread, $0.peerSpeed.spread] }.filter(\.isFinite))
    let noise = spreads.isEmpty ? "" : "; runs of one row differ by +-\(percent(spreads.median)) (median of the rows)"
    let change =
      floorChange.isEmpty ? "" : ";\nthe machine's own products by +-\(percent(floorChange.median)) from before to after them"
    return "Noise: load average \(fixed(machine.load, 2)) before, \(fixed(loadAfter, 2)) after\(noise)\(change)"
  }

  var json: JSON {
    var members: [JSON.Member] = [
      .init("format", "gora-benchmark"), .init("format_version", 1), .init("machine", machine.json),
      .init("load_before", finite(machine.load)), .init("load_after", finite(loadAfter)),
      .init("peer", peer.map { JSON($0) } ?? nil),
      .init("floor", floor.json),
    ]
    members.append(
      .init(
        "rows",
        JSON(
          rows.map { result in
            var json = result.json
            if case .object(var members) = json.content {
              members.append(.init("of_best", finite(result.shareOfBest(floor))))
              members.append(.init("of_floor", finite(result.shareOfFloor(floor, threads: machine.cores))))
              json = JSON(.object(members))
            }
            return json
          })))
    for measured in scaling + [startup, chat, blocks, large].compactMap({ $0 }) {
      members.append(.init(measured.name, measured.json))
    }
    return JSON(.object(members))
  }
}

/// A table with its words and its JSON.
struct Measured {
  /// Its key in the JSON.
  var name: String
  var text: String
  var json: JSON
}

/// A number with so many decimals; a dash for what was not measured.
func fixed(_ value: Double, _ decimals: Int) -> String { value.isFinite ? NumberText.fixed(value, decimals) : "-" }

func percent(_ share: Double) -> String { share.isFinite ? NumberText.fixed(share * 100, 0) + "%" : "-" }

func mebibytes(_ bytes: Double) -> String { fixed(bytes / 1_048_576, 0) }
