/// Values as they stand in a settings file, read from elsewhere: a command line.
public enum SettingsText {
  /// What is wrong with a value, and what to write instead.
  public struct Problem: Error, Equatable, Sendable, CustomStringConvertible {
    /// One line.
    public let description: String

    init(_ problem: ValueProblem) {
      description = problem.suggestion.map { "\(problem.message): \($0)" } ?? problem.message
    }
  }

  /// A target as in `wait_for`, without a timeout of its own.
  public static func wait(_ text: String) throws(Problem) -> WaitSettings {
    do throws(ValueProblem) {
      guard !text.isEmpty else { throw ValueProblem("a target is empty", "write for instance tcp://db:5432") }
      let target = try WaitTarget(settingsText: text)
      switch target {
      case .postgres(nil), .redis(nil):
        throw ValueProblem(
          "\(quoted(text)) is what a settings file says it is, and none is read here",
          "write its URL, for instance \(text == "redis" ? "redis://cache:6379/0" : "postgres://user@db:5432/name")"
        )
      default: break
      }
      return WaitSettings(target: target, timeout: nil, text: maskingPasswords(in: text))
    } catch {
      throw Problem(error)
    }
  }

  /// A duration above zero, such as `90s`, `1h30m` or whole seconds; nil for `none`.
  public static func timeout(_ text: String) throws(Problem) -> Duration? {
    if text == "none" { return nil }
    do throws(ValueProblem) {
      let duration = try Duration(settingsText: text, words: ["none"])
      guard duration > .zero else {
        throw ValueProblem("\(quoted(text)) is no time to wait", "write for instance 30s")
      }
      return duration
    } catch {
      throw Problem(error)
    }
  }
}

/// Secrets in texts that are shown.
public enum SecretText {
  /// The text with asterisks for every password: between `://user:` and `@`, and behind `password=`.
  public static func maskingPasswords(in text: String) -> String { Settings.maskingPasswords(in: text) }

  /// The password of a URL, as it stands there; nil when it has none.
  public static func password(in url: String) -> String? {
    guard let scheme = url.firstIndex(of: ":"), url[scheme...].hasPrefix("://") else { return nil }
    let authority = url[scheme...].dropFirst(3).prefix { !"/?#".contains($0) }
    guard let at = authority.lastIndex(of: "@"), let colon = authority[..<at].firstIndex(of: ":") else {
      return nil
    }
    let password = authority[authority.index(after: colon)..<at]
    return password.isEmpty ? nil : String(password)
  }
}
