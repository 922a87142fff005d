import GoraCore

/// The small text that stands in a clone for a large file where git-lfs has not fetched it.
package enum GitLFS {
  private static let beginning = "version https://git-lfs.github.com/spec/"

  /// The error for a file that is such a pointer; nil for any other.
  package static func refusal(of bytes: some Collection<UInt8>, _ path: String) -> GoraError? {
    guard bytes.starts(with: beginning.utf8) else { return nil }
    return GoraError(
      .data, at: .file(path), "a git-lfs pointer; expected the file itself", hint: "fetch it: git lfs pull, or download it again")
  }
}
