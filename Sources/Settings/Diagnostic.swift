/// A place in a settings file. Lines and columns count from 1; columns count characters, as editors do.
public struct SourcePosition: Sendable, Equatable {
  /// The file's name as it was given or found.
  public var file: String
  /// The line, from 1.
  public var line: Int
  /// The column, from 1.
  public var column: Int

  /// Makes a position.
  public init(file: String, line: Int, column: Int) {
    self.file = file
    self.line = line
    self.column = column
  }
}

extension SourcePosition: CustomStringConvertible {
  /// `file:line:column`, the form that editors and terminals turn into a link.
  public var description: String { "\(file):\(line):\(column)" }
}

/// Where the value of a key comes from, in order of precedence.
public enum Origin: Sendable, Equatable {
  /// A command line flag, with its dashes.
  case flag(String)
  /// An environment variable.
  case environment(String)
  /// A place in the settings file.
  case file(SourcePosition)
  /// Nobody set it.
  case `default`
}

extension Origin: CustomStringConvertible {
  /// The flag, the variable's name, `file:line:column` or `default`.
  public var description: String {
    switch self {
    case .flag(let name), .environment(let name): name
    case .file(let position): position.description
    case .default: "default"
    }
  }

  /// Sort key for reports: flags, then variables, then the file from top to bottom.
  fileprivate var rank: (Int, Int, Int) {
    switch self {
    case .flag: (0, 0, 0)
    case .environment: (1, 0, 0)
    case .file(let position): (2, position.line, position.column)
    case .default: (3, 0, 0)
    }
  }
}

/// One finding about the settings: where it is, which key it concerns, what is wrong and what to do.
public struct Diagnostic: Error, Equatable {
  /// How much a finding matters.
  public enum Severity: String, Sendable {
    /// The settings cannot be used.
    case error
    /// They can be used, but probably do not mean what was intended.
    case warning
    /// Worth knowing.
    case note
  }

  /// How much it matters.
  public var severity: Severity
  /// Where the offending text is, when there is such a place.
  public var origin: Origin?
  /// The path of the key, such as `infrastructure.steps[0].timeout`.
  public var key: String?
  /// What is wrong.
  public var message: String
  /// What to do about it.
  public var suggestion: String?

  /// Makes a finding.
  public init(
    _ severity: Severity, at origin: Origin?, key: String? = nil, _ message: String, suggestion: String? = nil
  ) {
    self.severity = severity
    self.origin = origin
    self.key = key
    self.message = message
    self.suggestion = suggestion
  }
}

extension Diagnostic: CustomStringConvertible {
  /// One line: `supervisor.yml:3:7: error: infrastructure.steps[0].timeout: what is wrong; what to do`.
  public var description: String {
    var text = ""
    if let origin { text += "\(origin): " }
    text += "\(severity.rawValue): "
    if let key, !key.isEmpty { text += "\(key): " }
    text += message
    if let suggestion { text += "; \(suggestion)" }
    return text
  }
}

extension [Diagnostic] {
  /// No report is longer than this: nobody reads on, and a hostile file must not fill the log.
  static let reportLimit = 100

  /// Sorted by position (equal positions keep their order), without repetitions, at most `reportLimit` long.
  func asReport() -> [Diagnostic] {
    var unique: [Diagnostic] = []
    // A flood of warnings must not push the errors out.
    let errors = filter { $0.severity == .error }
    let sorted = (count > Self.reportLimit && !errors.isEmpty ? errors : self).enumerated().sorted {
      left, right in
      let leftRank = left.element.origin?.rank ?? (-1, 0, 0)
      let rightRank = right.element.origin?.rank ?? (-1, 0, 0)
      return leftRank == rightRank ? left.offset < right.offset : leftRank < rightRank
    }
    for (_, diagnostic) in sorted where unique.last != diagnostic {
      guard unique.count < Self.reportLimit else {
        unique.append(
          Diagnostic(
            diagnostic.severity, at: nil, "there are more like these",
            suggestion: "only the first \(Self.reportLimit) are shown"))
        break
      }
      unique.append(diagnostic)
    }
    return unique
  }
}
