import Glibc

/// On which machine a process runs, and on which of its CPUs it may.
struct MachinePlace: Sendable, Equatable {
  /// The same for processes of one machine, whatever containers they are in.
  var machine: String
  /// Numbers of the CPUs in its affinity mask; empty where that is not known.
  var cpus: [Int]

  /// - Parameters:
  ///   - machine: any text without a line feed.
  ///   - mask: `Cpus_allowed` of /proc/self/status: words of hexadecimal digits, the highest first.
  init(machine: String, mask: String) {
    self.machine = machine
    cpus = []
    for (place, digit) in mask.reversed().lazy.filter({ $0 != "," }).enumerated() {
      guard let value = digit.hexDigitValue else { continue }
      for bit in 0..<4 where value & 1 << bit != 0 { cpus.append(4 * place + bit) }
    }
    self.mask = mask
  }

  private let mask: String
  /// As the others are told of it.
  var text: String { "\(machine)\n\(mask)" }
  init(_ text: String) {
    let lines = text.split(separator: "\n", maxSplits: 1, omittingEmptySubsequences: false)
    self.init(machine: String(lines.first ?? ""), mask: lines.count > 1 ? String(lines[1]) : "")
  }

  /// This process's.
  static var own: MachinePlace {
    let boot = text(of: "/proc/sys/kernel/random/boot_id")
    let key = "Cpus_allowed:"
    let line = text(of: "/proc/self/status").split(separator: "\n").first { $0.hasPrefix(key) }
    let mask = line.map { $0.dropFirst(key.count).filter { !$0.isWhitespace } } ?? ""
    return MachinePlace(machine: boot.filter { !$0.isWhitespace }, mask: mask)
  }

  /// CPUs a process, each counted by the processes that share it, rounded down, at least 1: the least of all processes, so that all
  /// have as many threads. nil where a mask is not known.
  static func leastShare(_ places: [MachinePlace]) -> Int? {
    guard !places.isEmpty, places.allSatisfy({ !$0.cpus.isEmpty }) else { return nil }
    var users: [String: [Int: Int]] = [:]
    for place in places {
      for cpu in place.cpus { users[place.machine, default: [:]][cpu, default: 0] += 1 }
    }
    let shares = places.map { place in
      place.cpus.reduce(0.0) { $0 + 1 / Double(users[place.machine]?[$1] ?? 1) }
    }
    return shares.min().map { max(1, Int($0 + 1e-6)) }
  }

  /// A small file of the kernel's; empty where it cannot be read.
  private static func text(of path: String) -> String {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return "" }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 16384)
    let count = read(descriptor, &bytes, bytes.count)
    return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
  }
}
