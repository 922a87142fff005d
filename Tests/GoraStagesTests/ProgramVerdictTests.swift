import Testing

@testable import GoraStages

@Suite struct ProgramVerdictTests {
  @Test(arguments: [.passed, .timedOut, .noVerdict, .failed(""), .failed("NameError: ä\n")] as [ProgramVerdict])
  func toldToAnotherProcess(_ verdict: ProgramVerdict) { #expect(ProgramVerdict(bytes: verdict.bytes) == verdict) }
}
