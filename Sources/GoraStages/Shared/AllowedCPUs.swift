import Glibc
import GoraCore

/// The CPUs that this process may use: the threads of a run that does not say.
package enum AllowedCPUs {
  package static var count: Int { count(mask: available, quota: ControlGroups().cpus) }

  /// Those of the mask; where several processes may use them, this one's share.
  private static var available: Int {
    let mask = mask ?? sysconf(Int32(_SC_NPROCESSORS_ONLN))
    return ProcessGroup.isAlone ? mask : ProcessGroup.cpus ?? max(1, mask / ProcessGroup.ranksOnThisMachine)
  }

  /// Whether the launcher has taken CPUs away, and which are left: for the first line of a run.
  static var pinning: String {
    let key = "Cpus_allowed_list:"
    guard let mask, let line = ControlGroups.lines(of: "/proc/self/status").first(where: { $0.hasPrefix(key) }),
      mask < sysconf(Int32(_SC_NPROCESSORS_ONLN))
    else { return "not pinned" }
    return "this one pinned to CPU \(line.dropFirst(key.count).filter { !$0.isWhitespace })"
  }

  /// A quota of two and a half CPUs keeps three threads busy most of the time.
  static func count(mask: Int, quota: Double?) -> Int {
    let granted = quota.map { Int(min($0, 1e6).rounded(.up)) } ?? mask
    return max(1, min(mask, granted))
  }

  /// CPUs in the affinity mask (`Cpus_allowed` of /proc/self/status: sched_getaffinity's macros do not reach Swift).
  private static var mask: Int? {
    let key = "Cpus_allowed:"
    guard let line = ControlGroups.lines(of: "/proc/self/status").first(where: { $0.hasPrefix(key) }) else { return nil }
    let count = line.dropFirst(key.count).reduce(0) { $0 + ($1.hexDigitValue?.nonzeroBitCount ?? 0) }
    return count > 0 ? count : nil
  }
}
