import GoraFormats

/// What this process holds in memory, and what it may still take, from /proc and the control groups of Linux.
enum ProcessMemory {
  /// Bytes of private memory that are resident (heap, stacks).
  static var anonymous: Int { status("RssAnon") ?? 0 }
  /// Bytes of mapped files that are resident: programs, libraries, weights, spilled gradients.
  static var mapped: Int { (status("RssFile") ?? 0) + (status("RssShmem") ?? 0) }
  /// Most bytes that were ever resident.
  static var peak: Int { status("VmHWM") ?? 0 }

  /// Bytes of memory of any kind that this process may take without anything having to give way but caches: the lesser of what the
  /// machine and its control groups leave.
  static var free: Int { max(0, controlGroups().reduce(field("MemAvailable", of: "/proc/meminfo") ?? .max, min)) }

  /// Bytes of anonymous memory that it may take: `ulimit -d` counts no more than that.
  static var available: Int {
    var least = free
    if let line = ControlGroups.lines(of: "/proc/self/limits").first(where: { $0.hasPrefix("Max data size") }),
      let limit = line.dropFirst("Max data size".count).split(separator: " ").first.flatMap({ Int($0) })
    {
      least = min(least, limit - (status("VmData") ?? 0))
    }
    return max(0, least)
  }

  private static func status(_ key: String) -> Int? { field(key, of: "/proc/self/status") }

  /// `key: 123 kB`, in bytes.
  private static func field(_ key: String, of path: String) -> Int? {
    guard let line = ControlGroups.lines(of: path).first(where: { $0.hasPrefix("\(key):") }) else { return nil }
    return line.dropFirst(key.count + 1).split { $0 == " " || $0 == "\t" }.first.flatMap { Int($0) }.map { $0 << 10 }
  }

  /// What each limited group has left, its caches counted as free.
  private static func controlGroups() -> [Int] {
    ControlGroups().folders(of: "memory").compactMap { version, folder in
      let names =
        version == .two ? ("memory.max", "memory.current", "") : ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
      // "max" is no number: no limit.
      guard let limit = ControlGroups.lines(of: "\(folder)/\(names.0)").first.flatMap({ Int($0) }),
        let used = ControlGroups.lines(of: "\(folder)/\(names.1)").first.flatMap({ Int($0) })
      else { return nil }
      let caches = ControlGroups.lines(of: "\(folder)/memory.stat").reduce(0) { sum, line in
        let words = line.split(separator: " ")
        let isCache = words.first == "\(names.2)inactive_file" || words.first == "\(names.2)active_file"
        return isCache ? sum + (words.last.flatMap { Int($0) } ?? 0) : sum
      }
      return limit - used + min(used, caches)
    }
  }
}
