import GoraFormats

/// What this process holds in memory, and what it may still take, from /proc and the control groups of Linux.
enum ProcessMemory {
  /// Bytes of private memory that are resident (heap, stacks).
  static var anonymous: Int { status("RssAnon") ?? 0 }
  /// Bytes of mapped files that are resident: programs, libraries, weights, spilled gradients.
  static var mapped: Int { (status("RssFile") ?? 0) + (status("RssShmem") ?? 0) }
  /// Most bytes that were ever resident.
  static var peak: Int { status("VmHWM") ?? 0 }

  /// Bytes of anonymous memory that this process may take without anything having to give way but caches: the least of what the
  /// machine, its control groups and `ulimit -d` leave.
  static var available: Int {
    var least = field("MemAvailable", of: "/proc/meminfo") ?? .max
    for room in controlGroups() { least = min(least, room) }
    if let line = lines(of: "/proc/self/limits").first(where: { $0.hasPrefix("Max data size") }),
      let limit = line.dropFirst("Max data size".count).split(separator: " ").first.flatMap({ Int($0) })
    {
      least = min(least, limit - (status("VmData") ?? 0))
    }
    return max(0, least)
  }

  private static func status(_ key: String) -> Int? { field(key, of: "/proc/self/status") }

  private static func lines(of path: String) -> [Substring] {
    guard let bytes = try? readWholeFile(path) else { return [] }
    return String(decoding: bytes, as: UTF8.self).split(separator: "\n")
  }

  /// `key: 123 kB`, in bytes.
  private static func field(_ key: String, of path: String) -> Int? {
    guard let line = lines(of: path).first(where: { $0.hasPrefix("\(key):") }) else { return nil }
    return line.dropFirst(key.count + 1).split { $0 == " " || $0 == "\t" }.first.flatMap { Int($0) }.map { $0 << 10 }
  }

  /// What each limited group above this process has left, its caches counted as free (versions 1 and 2).
  private static func controlGroups() -> [Int] {
    var rooms: [Int] = []
    for line in lines(of: "/proc/self/cgroup") {
      // `4:memory:/path` or, in version 2, `0::/path`.
      let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard parts.count == 3 else { continue }
      let second = parts[0] == "0" && parts[1].isEmpty
      guard second || parts[1].split(separator: ",").contains("memory") else { continue }
      let root = second ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory"
      let names = second ? ("memory.max", "memory.current", "") : ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
      var path = parts[2]
      while true {
        let folder = root + path
        // "max" is no number: no limit.
        if let limit = lines(of: "\(folder)/\(names.0)").first.flatMap({ Int($0) }),
          let used = lines(of: "\(folder)/\(names.1)").first.flatMap({ Int($0) })
        {
          let caches = lines(of: "\(folder)/memory.stat").reduce(0) { sum, line in
            let words = line.split(separator: " ")
            let isCache = words.first == "\(names.2)inactive_file" || words.first == "\(names.2)active_file"
            return isCache ? sum + (words.last.flatMap { Int($0) } ?? 0) : sum
          }
          rooms.append(limit - used + min(used, caches))
        }
        guard let slash = path.lastIndex(of: "/") else { break }
        path = path[..<slash]
      }
    }
    return rooms
  }
}
