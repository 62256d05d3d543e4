/// What was given for each key, by flag, variable or file, read by the key's type.
struct Resolution {
  /// A value that was given.
  struct Given {
    var value: SettingValue
    /// The value as text, to show.
    var text: String
    var origin: Origin
    /// Values of a map, to show one by one.
    var parts: [Part] = []
    /// Where each item of a list stands.
    var items: [Origin] = []
  }

  /// One value of a map.
  struct Part {
    var name: String
    var text: String
    var origin: Origin
  }

  /// The values, by path.
  var values: [String: Given] = [:]
  /// Every path something was given for, even if it was wrong: also maps and items of lists.
  var mentioned: [String: Origin] = [:]
  /// The names below a path that takes any name, in the order of the file.
  var names: [String: [String]] = [:]
  /// How many items the lists of maps have.
  var counts: [String: Int] = [:]
  /// Errors and warnings so far.
  private(set) var diagnostics: [Diagnostic] = []
  private var errorCount = 0
  private var warningCount = 0

  /// Finding suggestions costs time, and a hostile file could have an error in each of its 100,000 values.
  private static let limit = 1000

  /// Whether there are so many errors that looking for more is pointless.
  var isFull: Bool { errorCount >= Self.limit }

  /// Adds an error.
  mutating func report(_ problem: ValueProblem, at origin: Origin, key: String) {
    errorCount += 1
    diagnostics.append(
      Diagnostic(
        .error, at: origin, key: printable(key, limit: 120), problem.message, suggestion: problem.suggestion))
  }

  /// Adds a note.
  mutating func note(_ message: String, _ suggestion: String?, at origin: Origin, key: String) {
    diagnostics.append(
      Diagnostic(.note, at: origin, key: printable(key, limit: 120), message, suggestion: suggestion))
  }

  /// Adds a warning, unless there are too many already: unlike an error it must not end the reading.
  mutating func warn(_ problem: ValueProblem, at origin: Origin, key: String) {
    warningCount += 1
    guard warningCount <= Self.limit else { return }
    diagnostics.append(
      Diagnostic(
        .warning, at: origin, key: printable(key, limit: 120), problem.message, suggestion: problem.suggestion
      ))
  }
}
