import CLinux
import EventLoop
import Frameworks
import Glibc
import Journal
import Lifecycle
import Phases
import Processes
import Settings

/// The settings with what the framework says: loaded once to learn which framework, asked of it, loaded again.
enum FrameworkStart {
  /// Settings that can be used.
  struct Loaded {
    var settings: EffectiveSettings
    var notes: [Diagnostic]
    /// What the steps of the preset read.
    var inputs: [StepInput] = []
  }

  /// Why there are none.
  enum Failure: Error {
    /// What is wrong with them.
    case settings([Diagnostic])
    /// The framework could not be asked.
    case start(StartFailure)

    /// Prints it. Returns the exit code.
    func report() -> Int32 {
      switch self {
      case .settings(let findings): StartFailure.reportSettings(findings)
      case .start(let failure): failure.report()
      }
    }
  }

  /// Loads them.
  /// - Parameters:
  ///   - path: of `--settings`.
  ///   - overrides: values of flags.
  ///   - command: what follows `--`.
  ///   - looksOnly: nothing is started, so LiteFS may be asked for although it cannot be run yet.
  static func load(
    path: String?, overrides: [String: String] = [:], environment: ProcessEnvironment,
    command: [RawString] = [], looksOnly: Bool = false
  ) throws(Failure) -> Loaded {
    func load(
      imported: [ImportedValue] = [], preset: [ImportedValue] = [], presetFollows: Bool = false
    ) throws(Failure) -> Loaded {
      switch SettingsLoader.load(
        path: path, overrides: overrides, environment: { environment.value(of: $0).map { "\($0)" } },
        environmentNames: environment.names, imported: imported, preset: preset,
        presetFollows: presetFollows)
      {
      case .failure(let findings): throw .settings(findings)
      case .settings(let settings, let notes):
        if !looksOnly, !presetFollows, let refusal = liteFSRefusal(settings) { throw .settings([refusal]) }
        return Loaded(settings: settings, notes: notes)
      }
    }
    var first: Loaded
    var refusal: Failure?
    do throws(Failure) {
      first = try load()
    } catch {
      // Steps may speak of the preset's, which are not known yet.
      guard let lenient = try? load(presetFollows: true) else { throw error }
      (first, refusal) = (lenient, error)
    }
    let directory = workingDirectory(of: first.settings)
    let hasManagePy = access(directory + "/manage.py", F_OK) == 0
    guard DjangoDetection.needsPython(name: first.settings.framework.name.rawValue, hasManagePy: hasManagePy)
    else {
      if let refusal { throw refusal }
      return first
    }

    let source = DjangoSource(
      settings: first.settings, environment: environment, directory: directory, command: command)
    let (python, outcome) = try source.report()
    switch DjangoDetection.decide(name: first.settings.framework.name.rawValue, outcome: outcome) {
    case .none(let note):
      let notes = note.map { [Diagnostic(.note, at: nil, key: "framework.name", $0, suggestion: nil)] } ?? []
      // They may be meant for the preset that there would be.
      if case .settings(let findings)? = refusal { throw .settings(findings + notes) }
      // Whoever wrote steps knows.
      let hasSteps = !first.settings.infrastructure.steps.isEmpty || !first.settings.node.steps.isEmpty
      if !hasSteps { first.notes += notes }
      return first
    case .refuse(let failure):
      throw .settings([Diagnostic(.error, at: nil, key: "framework", "\(failure)", suggestion: nil)])
    case .django(let report):
      let project = try imported(report, first.settings, environment)
      let (values, notes) = (project.values, project.notes)
      // What the project says of the phases counts for its steps too.
      let second = try load(imported: values, presetFollows: true)
      let preset = DjangoPreset(
        report, python: python, databases: second.settings.framework.databases,
        isNodeFatal: second.settings.node.fatalOnError)
      var loaded = try load(imported: values, preset: presetValues(preset))
      loaded.notes += notes
      if let key = project.readinessKey,
        key.runID == RunID(given: loaded.settings.runID, workingDirectory: Array(directory.utf8)).value
      {
        loaded.settings.setReadinessKey(key.key, origin: "django: CACHES")
      }
      loaded.inputs = inputs(preset, loaded.settings)
      return loaded
    }
  }

  /// LiteFS can be described, but not run: the one place that says so.
  private static func liteFSRefusal(_ settings: EffectiveSettings) -> Diagnostic? {
    guard let mode = settings.litefs?.mode else { return nil }
    let text =
      if mode != .mount {
        "\"\(mode.rawValue)\" is not supported yet by this version"
      } else if !settings.infrastructure.steps.isEmpty {
        "infrastructure steps are not supported yet where LiteFS is mounted: they would run on replicas, too"
      } else {
        nil as String?
      }
    return text.map {
      Diagnostic(
        .error, at: settings.entries.first { $0.key == "litefs.mode" }?.origin, key: "litefs.mode", $0,
        suggestion: "set litefs.mode: off to start without it")
    }
  }

  private static func workingDirectory(of settings: EffectiveSettings) -> String {
    let own = RunStart.workingDirectory().map { "\($0)" } ?? "/"
    guard let directory = settings.app.workingDirectory else { return own }
    return directory.hasPrefix("/") ? directory : "\(own)/\(directory)"
  }

  private static func imported(
    _ report: DjangoReport, _ settings: EffectiveSettings, _ environment: ProcessEnvironment
  ) throws(Failure) -> DjangoImport {
    let given = settings.entries.filter { entry in
      switch entry.origin {
      case .flag, .environment, .file: true
      default: false
      }
    }
    // A value of its own: the closure is sent along.
    let variables = Dictionary(
      environment.names.compactMap { name in environment.value(of: name).map { (name, "\($0)") } },
      uniquingKeysWith: { first, _ in first })
    let values = DjangoImport(
      report,
      context: DjangoImport.Context(
        environment: { variables[$0] }, hostName: RunStart.hostName(),
        given: Dictionary(given.map { ($0.key, $0.value) }, uniquingKeysWith: { first, _ in first })))
    if !values.problems.isEmpty { throw .settings(values.problems + values.notes) }
    return values
  }

  /// The preset's steps as they would be written in a settings file: JSON is YAML.
  private static func presetValues(_ preset: DjangoPreset) -> [ImportedValue] {
    func list(_ steps: [DjangoPreset.Step], isNode: Bool) -> String {
      JSON.array(
        steps.map { step in
          var members: [(String, JSON)] = [
            ("name", .string(step.name)), ("run", .array(step.arguments.map { .string($0) })),
          ]
          if let check = step.check { members.append(("check", .array(check.map { .string($0) }))) }
          if !step.needs.isEmpty { members.append(("needs", .array(step.needs.map { .string($0) }))) }
          if isNode { members.append(("fatal", .bool(step.isFatal))) }
          members.append(
            ("environment", .object(step.environment.map { ($0.name, JSON.string($0.value)) })))
          return .object(members)
        }
      ).line
    }
    return [
      ImportedValue(
        path: "infrastructure.steps", text: list(preset.infrastructure, isNode: false),
        origin: "preset: django"),
      ImportedValue(path: "node.steps", text: list(preset.node, isNode: true), origin: "preset: django"),
    ]
  }

  /// For the steps that are still the preset's: the user's own of the same name took the place of others.
  private static func inputs(_ preset: DjangoPreset, _ settings: EffectiveSettings) -> [StepInput] {
    func inputs(_ steps: [DjangoPreset.Step], _ used: [StepSettings], isNode: Bool) -> [StepInput] {
      steps.compactMap { step in
        guard let text = step.input,
          used.contains(where: { $0.name == step.name && $0.run == .arguments(step.arguments) })
        else { return nil }
        return StepInput(isNode: isNode, step: step.name, text: text, reportsHooks: step.reportsHooks)
      }
    }
    return inputs(preset.infrastructure, settings.infrastructure.steps, isNode: false)
      + inputs(preset.node, settings.node.steps, isNode: true)
  }
}
