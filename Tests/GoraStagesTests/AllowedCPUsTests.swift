import Foundation
import Testing

@testable import GoraStages

/// Quotas of control groups, in folders that look like /proc and /sys.
@Suite struct AllowedCPUsTests {
  static func cpus(_ files: [String: String]) throws -> Double? {
    let root = FileManager.default.temporaryDirectory.appending(path: "gora-cgroup-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: root) }
    for (name, text) in files {
      let file = root.appending(path: name)
      try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
      try Data(text.utf8).write(to: file)
    }
    return ControlGroups(root: root.path()).cpus
  }

  @Test func versionTwo() throws {
    let group = ["proc/self/cgroup": "0::/a/b\n"]
    #expect(try Self.cpus(group) == nil)
    #expect(try Self.cpus(group.merging(["sys/fs/cgroup/a/b/cpu.max": "max 100000\n"]) { $1 }) == nil)
    #expect(try Self.cpus(group.merging(["sys/fs/cgroup/a/b/cpu.max": "250000 100000\n"]) { $1 }) == 2.5)
    // A group above grants less.
    let both = ["sys/fs/cgroup/a/b/cpu.max": "400000 100000\n", "sys/fs/cgroup/a/cpu.max": "150000 100000\n"]
    #expect(try Self.cpus(group.merging(both) { $1 }) == 1.5)
    // As a container sees itself.
    #expect(try Self.cpus(["proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"]) == 0.5)
  }

  @Test func versionOne() throws {
    let group = ["proc/self/cgroup": "3:cpuset:/x\n4:cpu,cpuacct:/x\n", "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000\n"]
    #expect(try Self.cpus(group) == nil)
    #expect(try Self.cpus(group.merging(["sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "-1\n"]) { $1 }) == nil)
    #expect(try Self.cpus(group.merging(["sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "300000\n"]) { $1 }) == 3)
  }

  @Test func leastOfMaskAndQuota() {
    #expect(AllowedCPUs.count(mask: 64, quota: nil) == 64)
    #expect(AllowedCPUs.count(mask: 64, quota: 2) == 2)
    #expect(AllowedCPUs.count(mask: 64, quota: 2.5) == 3)
    #expect(AllowedCPUs.count(mask: 2, quota: 8) == 2)
    #expect(AllowedCPUs.count(mask: 4, quota: 0.1) == 1)
    #expect(AllowedCPUs.count(mask: 4, quota: .infinity) == 4)
    #expect(AllowedCPUs.count >= 1)
  }
}
