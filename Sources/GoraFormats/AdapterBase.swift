import Glibc

/// `base_model_name_or_path` of an adapter.
package enum AdapterBase {
  /// What the user calls the base, or the Hub's name that an earlier folder has, or where it lies, whole, so that PEFT finds it from any folder.
  package static func name(_ given: String?, earlier: String? = nil, path: String) -> String {
    if let given { return given }
    if let earlier, earlier.split(separator: "/", omittingEmptySubsequences: false).count == 2, !earlier.hasPrefix("/"),
      !earlier.hasPrefix("."), !exists(earlier)
    {
      return earlier
    }
    var parts: [Substring] = []
    let whole = path.hasPrefix("/") ? path : "\(currentFolder)/\(path)"
    for part in whole.split(separator: "/") where part != "." {
      if part == "..", !parts.isEmpty { parts.removeLast() } else if part != ".." { parts.append(part) }
    }
    return "/" + parts.joined(separator: "/")
  }

  private static var currentFolder: String {
    guard let pointer = getcwd(nil, 0) else { return "." }
    defer { free(pointer) }
    return String(cString: pointer)
  }
}
