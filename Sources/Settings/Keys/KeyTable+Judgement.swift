extension KeyTable {
  /// What this version says to a value for a key.
  public enum Judgement: Sendable, Equatable {
    /// It can be used.
    case good
    /// It is well-formed, but acted on only by a version that has the named piece of work.
    case later(String)
    /// It cannot be used: what is wrong, and what to do about it.
    case wrong(message: String, suggestion: String?)
  }

  /// Judges a value that was not read from a file: another system's settings may be turned into ours only where they
  /// mean something.
  ///
  /// - Parameters:
  ///   - text: the value as it would be written in a file; only scalars are looked into.
  ///   - path: of a key with a fixed path.
  public static func judge(_ text: String, for path: String) -> Judgement {
    guard let key = byPath[path] else {
      // Below a key that is only known as a whole, such as `forward`.
      let parent = keys.first { row in
        if case .map = row.type { path.hasPrefix(row.path + ".") } else { false }
      }
      if case .later(let work)? = parent?.availability { return .later(work) }
      return .wrong(message: "\(printable(path)) is no key of ours", suggestion: nil)
    }
    if case .choice(_, let later, _) = key.type, let work = later[text] { return .later(work) }
    do throws(ValueProblem) {
      _ = try key.type.parseScalar(text)
    } catch {
      return .wrong(message: error.message, suggestion: error.suggestion)
    }
    switch key.availability {
    case .now: return .good
    case .later(let work): return .later(work)
    case .misplaced(let reason): return .wrong(message: reason, suggestion: nil)
    }
  }

  /// Whether a key's value must never be shown.
  public static func isSecret(_ path: String) -> Bool { byPath[path]?.isSecret ?? false }

  /// The one of `candidates` that a typing error most likely meant.
  public static func nearest(to word: String, among candidates: [String]) -> String? {
    Settings.nearest(to: word, among: candidates)
  }
}
