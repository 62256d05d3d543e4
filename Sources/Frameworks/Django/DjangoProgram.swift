/// A Python program for the project's own interpreter, to be written to the standard input of `python -`.
///
/// It needs nothing but the standard library (Python 3.8 or newer) and the project's Django. Its results go to a file or
/// a descriptor, never to standard output: settings modules and hooks print what they like.
public struct DjangoProgram: Equatable, Sendable {
  /// The variable with the path of the file that results are appended to; made with mode 0600 when it is missing. The
  /// program takes it out of its environment.
  public static let resultFileVariable = "SUPERVISOR_RESULT_FILE"
  /// The variable with the number of an open descriptor to write results to, when there is no file.
  public static let resultDescriptorVariable = "SUPERVISOR_RESULT_FD"

  /// The program, for standard input.
  public var text: String
  /// What follows the interpreter: `-` and the program's own arguments.
  public var arguments: [String]

  /// Reads a project's settings and nothing more: `django.setup()` is never called, since with a database on LiteFS it
  /// fails until the mount is there. The results are a `DjangoReport`.
  ///
  /// - Parameters:
  ///   - settingsModule: `framework.settings_module`; DJANGO_SETTINGS_MODULE of the environment goes before it.
  ///   - runID: the release, to ask the project's cache for its key; a development one only counts when the project's
  ///     settings name none. nil when it is not known.
  public static func settings(
    settingsModule: String? = nil, runID: (value: String, isDevelopment: Bool)? = nil
  ) -> DjangoProgram {
    var arguments = ["-"]
    if settingsModule != nil || runID != nil { arguments.append(settingsModule ?? "") }
    if let runID { arguments += [runID.value, runID.isDevelopment ? "development" : "given"] }
    return DjangoProgram(text: prelude + settingsBody, arguments: arguments)
  }

  /// Which hooks a `hooks` program calls, and how.
  public enum HookCall: Equatable, Sendable {
    /// None: lists those of both phases.
    case list
    /// `handle_infrastructure_init`; the first failure ends it.
    case infrastructure
    /// `handle_node_init`; goes on after a failure unless `fatal`. With `only`, the names of the hooks to call: those
    /// that failed the last time.
    case node(fatal: Bool, only: [String])
  }

  /// Sets Django up and calls the hooks of its apps, in the order of INSTALLED_APPS, in one process. The results are
  /// `HookResults`; the exit code is 0 when all went well, else 1.
  public static func hooks(_ call: HookCall, settingsModule: String) -> DjangoProgram {
    var arguments = ["-", settingsModule]
    switch call {
    case .list: arguments.append("list")
    case .infrastructure: arguments.append("infrastructure")
    case .node(let fatal, let only):
      arguments.append("node")
      if fatal { arguments.append("--fatal") }
      for name in only { arguments += ["--only", name] }
    }
    return DjangoProgram(text: prelude + hooksBody, arguments: arguments)
  }
}
