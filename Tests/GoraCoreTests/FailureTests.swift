import CGoraKernels
import CGoraSignals
import GoraCore
import Testing

@Suite struct FailureTests {
  /// One line and the error's status, from a process of its own.
  @Test func endsTheProcess() async throws {
    let result = try #require(
      await #expect(processExitsWith: .exitCode(65), observing: [\.standardErrorContent]) {
        Failure.prepare(tool: "gora-test") {}
        Failure.end(GoraError(.data, at: .file("x"), "is wrong"))
      })
    #expect(String(decoding: result.standardErrorContent, as: UTF8.self).hasSuffix("gora-test: error: x: is wrong\n"))
  }

  /// More floats than an address space holds, and more than the count of their bytes.
  @Test func tooManyFloats() async throws {
    await #expect(processExitsWith: .exitCode(69)) { _ = FloatBuffer(capacity: 1 << 60) }
    await #expect(processExitsWith: .exitCode(69)) { _ = FloatBuffer(capacity: .max) }
    await #expect(processExitsWith: .exitCode(69)) { FloatBuffer().reserve(.max) }
  }

  /// An allocation of Swift's own.
  @Test func swiftAllocation() async throws {
    await #expect(processExitsWith: .exitCode(69)) {
      gora_signals_install("gora-test")
      _ = [Float](repeating: 1, count: 1 << 58)
    }
  }
}
