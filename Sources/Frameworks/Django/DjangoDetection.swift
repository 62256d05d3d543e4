/// `framework.name`: whether this is a Django project whose start is ours.
public enum DjangoDetection {
  /// What to do about it.
  public enum Decision: Equatable, Sendable {
    /// Nothing; the text, if any, is worth a line in the log.
    case none(note: String?)
    /// The project's settings are imported and the preset's steps are run.
    case django(DjangoReport)
    /// It should have been one: exit code 78.
    case refuse(DjangoFailure)
  }

  /// Whether to ask Python at all. Without `manage.py`, `auto` never does.
  ///
  /// - Parameters:
  ///   - name: `framework.name`.
  ///   - hasManagePy: whether `manage.py` is in the app's working directory.
  public static func needsPython(name: String, hasManagePy: Bool) -> Bool {
    name == "django" || name == "auto" && hasManagePy
  }

  /// The decision, from what Python said.
  ///
  /// With `auto` a project counts when `autoinit`, `litefs_django` or `django_litefs` is installed in it: its start was
  /// somebody's to arrange already, so that changing the entrypoint is all. What is no Django project (another
  /// framework's manage.py, an interpreter without Django) is left alone; a Django project whose settings fail is not,
  /// since nobody knows what it asks for.
  public static func decide(
    name: String, outcome: Result<DjangoReport, DjangoFailure>
  ) -> Decision {
    switch outcome {
    case .success(let report):
      if name == "django" { return .django(report) }
      let isOurs = ["autoinit", "litefs_django", "django_litefs"].contains { report.hasApp($0) }
      return isOurs
        ? .django(report)
        : .none(
          note:
            "this is a Django project; framework.name: django would migrate and collect static files for it")
    case .failure(let failure):
      if name == "django" { return .refuse(failure) }
      switch failure.kind {
      case .noDjango, .noSettingsModule, .manageUnreadable:
        return .none(note: "manage.py is there, but \(failure)")
      case .settingsNotFound, .settingsFailed, .settingsExit, .setupFailed, .setupExit, .noResult, .malformed:
        return .refuse(failure)
      }
    }
  }
}
