/// Where the private directory of a supervisor is looked for, by `run` and by its clients alike.
public enum RunDirectory {
  /// The name of the control socket in it.
  public static let socketName = "control.sock"

  /// The directories to try, best first. One that was asked for, by flag or by SUPERVISOR_RUN_DIR, is the only one.
  ///
  /// - Parameters:
  ///   - chosen: the value of `--run-dir` or of the settings file's `run_dir`; wins over the environment.
  ///   - environment: a variable's value by its name; nil when it is not set.
  ///   - userID: the effective user ID.
  public static func candidates(
    chosen: String? = nil, environment: (String) -> String?, userID: UInt32
  ) -> [String] {
    for choice in [chosen, environment("SUPERVISOR_RUN_DIR")] {
      if let choice, !choice.isEmpty { return [withoutTrailingSlashes(choice)] }
    }
    var candidates = ["/run/supervisor"]
    // The specification of base directories says that a relative path there is to be ignored.
    if let runtime = environment("XDG_RUNTIME_DIR"), runtime.hasPrefix("/") {
      candidates.append(withoutTrailingSlashes(runtime) + "/supervisor")
    }
    candidates.append("/tmp/supervisor-\(userID)")
    return candidates
  }

  /// The path of the control socket in a private directory.
  public static func socketPath(in directory: String) -> String {
    "\(directory)/\(socketName)"
  }

  private static func withoutTrailingSlashes(_ path: String) -> String {
    var path = path
    while path.count > 1, path.hasSuffix("/") { path.removeLast() }
    return path
  }
}
