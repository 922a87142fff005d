import GoraFormats

/// The control groups of Linux that this process is in, versions 1 and 2.
struct ControlGroups {
  /// Which version a group is of: its files have other names.
  enum Version { case one, two }

  /// The folder that /proc and /sys are in; another one in tests.
  var root = ""

  /// The folders of the groups that a controller may have limits in, this process's own first, then those above it.
  func folders(of controller: String) -> [(version: Version, path: String)] {
    var folders: [(version: Version, path: String)] = []
    for line in Self.lines(of: "\(root)/proc/self/cgroup") {
      // `4:memory:/path` or, in version 2, `0::/path`.
      let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard parts.count == 3 else { continue }
      let version: Version = parts[0] == "0" && parts[1].isEmpty ? .two : .one
      guard version == .two || parts[1].split(separator: ",").contains(Substring(controller)) else { continue }
      let top = version == .two ? "\(root)/sys/fs/cgroup" : "\(root)/sys/fs/cgroup/\(controller)"
      var path = parts[2]
      while true {
        folders.append((version, top + path))
        guard let slash = path.lastIndex(of: "/") else { break }
        path = path[..<slash]
      }
    }
    return folders
  }

  /// CPUs' worth of time that the groups grant; nil where none has a limit.
  var cpus: Double? {
    folders(of: "cpu").compactMap { version, folder -> Double? in
      let words: [Substring]
      switch version {
      // "max 100000" is no limit, and no number.
      case .two: words = Self.lines(of: "\(folder)/cpu.max").first?.split(separator: " ") ?? []
      // −1 is none.
      case .one: words = ["cpu.cfs_quota_us", "cpu.cfs_period_us"].compactMap { Self.lines(of: "\(folder)/\($0)").first }
      }
      guard words.count == 2, let quota = Double(words[0]), let period = Double(words[1]), quota > 0, period > 0 else {
        return nil
      }
      return quota / period
    }.min()
  }

  /// The lines of a small text; none where it cannot be read.
  static func lines(of path: String) -> [Substring] {
    guard let bytes = try? readWholeFile(path) else { return [] }
    return String(decoding: bytes, as: UTF8.self).split(separator: "\n")
  }
}
