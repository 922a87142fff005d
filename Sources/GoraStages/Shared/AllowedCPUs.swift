import Glibc

/// The CPUs that this process may use: the threads of a run that does not say.
package enum AllowedCPUs {
  package static var count: Int { count(mask: mask ?? sysconf(Int32(_SC_NPROCESSORS_ONLN)), quota: ControlGroups().cpus) }

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
