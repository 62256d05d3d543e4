import Settings

/// The steps that a Django project gets without writing them: migrations and hooks once per release, static files and
/// hooks once per node.
public struct DjangoPreset: Equatable, Sendable {
  /// A step in neutral terms.
  public struct Step: Equatable, Sendable {
    /// Its name, unique in its phase.
    public var name: String
    /// Program and arguments.
    public var arguments: [String]
    /// What its standard input holds; nil for /dev/null.
    public var input: String?
    /// Program and arguments that tell whether it is done.
    public var check: [String]?
    /// The steps of its phase that come before it.
    public var needs: [String]
    /// Whether its failure ends the start.
    public var isFatal: Bool
    /// On top of the app's.
    public var environment: [EnvironmentVariable]
    /// Whether it writes `HookResults` to the file that `DjangoProgram.resultFileVariable` names.
    public var reportsHooks: Bool
  }

  /// Once per cluster and run ID.
  public private(set) var infrastructure: [Step] = []
  /// Once per node or volume and run ID.
  public private(set) var node: [Step] = []

  /// The steps for a project.
  ///
  /// - Parameters:
  ///   - report: its settings.
  ///   - python: the interpreter, as the report was made with.
  ///   - databases: `framework.databases`: the aliases to migrate; nil for `default`.
  ///   - isNodeFatal: `node.fatal_on_error`: the first failing hook of the node phase ends it.
  ///   - retryOnly: the hooks of the node phase to call, when others were done in an earlier start of this run ID.
  public init(
    _ report: DjangoReport, python: String, databases: [String]? = nil, isNodeFatal: Bool = false,
    retryOnly: [String] = []
  ) {
    let command = [python] + (report.hasManagePy ? ["manage.py"] : ["-m", "django"])
    // For a project whose manage.py does not name the module, or names another one than the one in use.
    let environment = [EnvironmentVariable(name: "DJANGO_SETTINGS_MODULE", value: report.settingsModule)]
    func step(
      _ name: String, _ arguments: [String], input: String? = nil, check: [String]? = nil,
      needs: [String] = [],
      isFatal: Bool = true
    ) -> Step {
      Step(
        name: name, arguments: arguments, input: input, check: check, needs: needs, isFatal: isFatal,
        environment: environment, reportsHooks: input != nil)
    }

    for alias in databases ?? Self.migratedByDefault(report) {
      let isDefault = alias == "default"
      let migrate = command + ["migrate"] + (isDefault ? [] : ["--database", alias])
      // One after the other: a migration of one database may look into another.
      infrastructure.append(
        step(
          isDefault ? "migrate" : "migrate-\(alias)", migrate + ["--noinput"], check: migrate + ["--check"],
          needs: infrastructure.last.map { [$0.name] } ?? []))
    }
    let hooks = DjangoProgram.hooks(.infrastructure, settingsModule: report.settingsModule)
    infrastructure.append(
      step(
        "hooks", [python] + hooks.arguments, input: hooks.text,
        needs: infrastructure.last.map { [$0.name] } ?? []))

    if report.hasStaticFiles {
      node.append(step("collectstatic", command + ["collectstatic", "--noinput"]))
    }
    // No `needs`: it comes after collectstatic by its place in the list, and is to go on where that failed and was
    // declared not to be fatal.
    let nodeHooks = DjangoProgram.hooks(
      .node(fatal: isNodeFatal, only: retryOnly), settingsModule: report.settingsModule)
    node.append(
      step("hooks", [python] + nodeHooks.arguments, input: nodeHooks.text, isFatal: isNodeFatal))
  }

  /// The preset's steps of a phase that stand before the user's: all but those which the user defined by the same name.
  public static func merged(_ steps: [Step], userNames: [String]) -> [Step] {
    steps.filter { !userNames.contains($0.name) }
  }

  /// `default`, as django-autoinit has it, unless the project has no such database. Others are often replicas of it, or
  /// not the project's to migrate.
  static func migratedByDefault(_ report: DjangoReport) -> [String] {
    let engine = report.databases.first { $0.key == "default" }?.value["ENGINE"]?.text ?? ""
    return engine.isEmpty || engine == "django.db.backends.dummy" ? [] : ["default"]
  }
}

/// Where a project's interpreter may be.
public enum PythonCandidates {
  /// Programs to try in order: paths, and names to look for in PATH. The first that exists is the one.
  ///
  /// - Parameters:
  ///   - setting: `framework.python`; when it is set it is the only one.
  ///   - appCommand: the app's program and arguments: a virtual environment's gunicorn has its python beside it.
  ///   - virtualEnvironment: VIRTUAL_ENV.
  public static func list(setting: String?, appCommand: [String], virtualEnvironment: String?) -> [String] {
    if let setting, !setting.isEmpty { return [setting] }
    var result: [String] = []
    func add(_ path: String) {
      if !result.contains(path) { result.append(path) }
    }
    if let program = appCommand.first {
      let parts = program.split(separator: "/", omittingEmptySubsequences: false)
      let name = parts.last ?? ""
      if name == "python" || name == "python3" || isVersioned(name) {
        add(program)
      } else if parts.count > 1 {
        add(parts.dropLast().joined(separator: "/") + "/python")
      }
    }
    if let virtualEnvironment, !virtualEnvironment.isEmpty { add(virtualEnvironment + "/bin/python") }
    add("python")
    add("python3")
    return result
  }

  /// `python3.12`.
  private static func isVersioned(_ name: Substring) -> Bool {
    let prefix = "python3."
    return name.hasPrefix(prefix) && name.count > prefix.count
      && name.dropFirst(prefix.count).allSatisfy(\.isNumber)
  }
}
