/// What loading the settings came to.
public enum SettingsOutcome: Sendable, Equatable {
  /// They can be used. The notes are warnings and notes.
  case settings(EffectiveSettings, notes: [Diagnostic])
  /// They cannot; everything that was found, errors and warnings.
  case failure([Diagnostic])
}

/// Reads, expands and checks the settings, and merges flags, variables, the file and the defaults.
public enum SettingsLoader {
  /// Variables with our prefix that set no key.
  static let otherVariables: Set<String> = [
    "SUPERVISOR_SETTINGS", "SUPERVISOR_PHASE", "SUPERVISOR_ROLE", "SUPERVISOR_PRIMARY",
    "SUPERVISOR_ROLE_FILE",
    "SUPERVISOR_OUTPUT", "SUPERVISOR_AGENT", "SUPERVISOR_PROCESS", "SUPERVISOR_RETRY", "SUPERVISOR_DONE",
    "SUPERVISOR_RESULT_FILE",
    "SUPERVISOR_RESULT_FD",
  ]

  /// Finds the file, reads it and makes the settings. Reads nothing but that file, those it names (fragments,
  /// secrets) and `environment`.
  ///
  /// Who imports from another system loads twice: first without, to learn what `framework` says, then with the
  /// imported values.
  ///
  /// - Parameters:
  ///   - path: the value of `--settings`; nil or empty when it was not given.
  ///   - overrides: values of flags by key, such as `["run_id": "v7", "node.fatal_on_error": "true"]`; an empty
  ///     value counts as not given.
  ///   - environment: looks an environment variable up; nil when it is not set.
  ///   - environmentNames: the names of all variables, to find `SUPERVISOR_*` ones that mean nothing.
  ///   - searchPaths: where to look when neither flag nor variable names a file.
  ///   - imported: values that count where flags, variables and the file say nothing. Steps are put before the
  ///     file's; one of the same name in the file replaces an imported one, or amends it when it has no work of its own.
  ///   - preset: the same, below `imported`.
  ///   - presetFollows: the preset is still to be made from these settings: steps are not judged, since they may speak
  ///     of those that are missing yet.
  public static func load(
    path: String? = nil, overrides: [String: String] = [:], environment: @escaping (String) -> String?,
    environmentNames: [String] = [], searchPaths: [String] = ["./supervisor.yml", "/etc/supervisor.yml"],
    imported: [ImportedValue] = [], preset: [ImportedValue] = [], presetFollows: Bool = false
  ) -> SettingsOutcome {
    let found: SettingsFile.Found?
    do throws(Diagnostic) {
      found = try SettingsFile.find(
        named: path, variable: environment("SUPERVISOR_SETTINGS"), searchPaths: searchPaths)
    } catch {
      return .failure([error])
    }
    return load(
      bytes: found?.bytes ?? [], file: found.map(\.path), overrides: overrides, environment: environment,
      environmentNames: environmentNames, imported: imported, preset: preset, presetFollows: presetFollows)
  }

  /// Makes the settings from a file's content, see `load(path:)`.
  ///
  /// - Parameters:
  ///   - bytes: the content.
  ///   - file: the name to use in messages; nil when there is no file. Fragments are looked for beside it.
  ///   - files: how fragments and secrets are read.
  public static func load(
    bytes: [UInt8], file: String?, overrides: [String: String] = [:],
    environment: @escaping (String) -> String?,
    environmentNames: [String] = [], imported: [ImportedValue] = [], preset: [ImportedValue] = [],
    presetFollows: Bool = false, files: FileAccess = .system
  ) -> SettingsOutcome {
    let name = file.map(shortened) ?? ""
    var resolver = Resolver(lookup: environment)
    var diagnostics = notes(about: environmentNames)
    diagnostics += override(&resolver, overrides: overrides, environment: environment)
    var root = YAMLNode.empty(SourcePosition(file: name, line: 1, column: 1))
    do throws(Diagnostic) {
      if let content = try YAMLReader.read(bytes, file: name) { root = content }
    } catch {
      // What a broken file would have set is not known, so checks across keys would only mislead.
      return .failure((diagnostics + resolver.resolution.diagnostics + [error]).asReport(first: name))
    }
    var fragments = Fragments(access: files)
    root = fragments.merge(resolver.includes(root), into: root, file: name)
    diagnostics += fragments.problems
    for (values, source) in [(imported, SourcePosition.Source.imported), (preset, .preset)] {
      var layer = ImportedLayer(source)
      root = layer.lay(values, under: root)
      diagnostics += layer.problems
    }
    resolver.read(root)
    resolver.readSecrets(files)
    if fragments.isBroken {
      return .failure((diagnostics + resolver.resolution.diagnostics).asReport(first: name))
    }
    var assembly = Assembly(
      resolver.resolution, lookup: environment, presetFollows: presetFollows, files: files)
    let settings = assembly.settings(file: file)
    diagnostics += resolver.resolution.diagnostics + assembly.problems
    let report = diagnostics.asReport(first: name)
    return diagnostics.contains { $0.severity == .error }
      ? .failure(report) : .settings(settings, notes: report)
  }

  /// `./supervisor.yml` is shown without its `./`.
  private static func shortened(_ path: String) -> String {
    path.hasPrefix("./") ? String(path.dropFirst(2)) : path
  }

  /// Applies flags and variables; the result are errors about flags that are no keys.
  private static func override(
    _ resolver: inout Resolver, overrides: [String: String], environment: (String) -> String?
  ) -> [Diagnostic] {
    for (key, name) in KeyTable.settable {
      let words = key.path.split { $0 == "." }.last ?? ""
      let flag = "--" + String(words.map { $0 == "_" ? "-" : $0 })
      if let text = overrides[key.path], !text.isEmpty {
        resolver.override(key, with: text, origin: .flag(flag))
      } else if let text = environment(name), !text.isEmpty {
        resolver.override(key, with: text, origin: .environment(name))
      }
    }
    return overrides.keys.filter { KeyTable.byPath[$0]?.environmentName == nil }.sorted().map { key in
      Diagnostic(.error, at: nil, key: key, "no key of this name can be set by a flag")
    }
  }

  /// Kubernetes makes variables from names of services, so an unknown one is no error.
  private static func notes(about names: [String]) -> [Diagnostic] {
    let prefix = "SUPERVISOR_"
    guard names.contains(where: { $0.hasPrefix(prefix) }) else { return [] }
    let known = Set(KeyTable.settable.map(\.variable)).union(otherVariables)
    // Compared without what all have in common, or everything would be near.
    let endings = known.sorted().map { String($0.dropFirst(prefix.count)) }
    return Set(names).filter { $0.hasPrefix(prefix) && !known.contains($0) }.sorted().map { name in
      let near = nearest(to: String(name.dropFirst(prefix.count)), among: endings)
      return Diagnostic(
        .note, at: .environment(printable(name)), "this variable sets nothing",
        suggestion: near.map { "did you mean \(prefix)\($0)?" })
    }
  }
}
