/// A place in a settings file. Lines and columns count from 1; columns count characters, as editors do.
public struct SourcePosition: Sendable, Equatable {
  /// The file's name as it was given or found.
  public var file: String
  /// The line, from 1.
  public var line: Int
  /// The column, from 1.
  public var column: Int
  /// What `file` is. Only a file has lines and columns.
  var source = Source.file

  /// What a position is in.
  enum Source { case file, imported, preset }

  /// Makes a position.
  public init(file: String, line: Int, column: Int) {
    self.file = file
    self.line = line
    self.column = column
  }

  /// A place outside any file, with the text to show for it.
  init(source: Source, text: String) {
    self.init(file: printable(text, limit: 300), line: 0, column: 0)
    self.source = source
  }
}

extension SourcePosition: CustomStringConvertible {
  /// `file:line:column`, the form that editors and terminals turn into a link.
  public var description: String { source == .file ? "\(file):\(line):\(column)" : file }
}

/// Where the value of a key comes from, in order of precedence.
public enum Origin: Sendable, Equatable {
  /// A command line flag, with its dashes.
  case flag(String)
  /// An environment variable.
  case environment(String)
  /// A place in the settings file, or in a fragment of it.
  case file(SourcePosition)
  /// Another system's settings, with what they call it: `django: AUTOINIT_TIMEOUT_SEC`.
  case imported(String)
  /// What a framework needs as a rule, with the preset's name.
  case preset(String)
  /// Nobody set it.
  case `default`
}

extension Origin: CustomStringConvertible {
  /// The flag, the variable's name, `file:line:column`, the text of an import or preset, or `default`.
  public var description: String {
    switch self {
    case .flag(let name), .environment(let name), .imported(let name), .preset(let name): name
    case .file(let position): position.description
    case .default: "default"
    }
  }

  /// The place of a node, which may have been imported.
  static func at(_ position: SourcePosition) -> Origin {
    switch position.source {
    case .file: .file(position)
    case .imported: .imported(position.file)
    case .preset: .preset(position.file)
    }
  }

  /// Whether nobody wrote it for us.
  var isImported: Bool {
    switch self {
    case .imported, .preset: true
    case .flag, .environment, .file, .default: false
    }
  }

  /// Which source counts: the one with the lowest number.
  var precedence: Int {
    switch self {
    case .flag: 0
    case .environment: 1
    case .file: 2
    case .imported: 3
    case .preset: 4
    case .default: 5
    }
  }

  /// Sort key for reports: by precedence; in files, `first` before the others, each from top to bottom.
  fileprivate func rank(first: String) -> (Int, String, Int, Int) {
    guard case .file(let position) = self else { return (precedence, "", 0, 0) }
    return (precedence, position.file == first ? "" : position.file, position.line, position.column)
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
  ///
  /// - Parameter first: the file that comes before all others.
  func asReport(first: String = "") -> [Diagnostic] {
    var unique: [Diagnostic] = []
    // A flood of warnings must not push the errors out.
    let errors = filter { $0.severity == .error }
    let sorted = (count > Self.reportLimit && !errors.isEmpty ? errors : self).enumerated().sorted {
      left, right in
      let leftRank = left.element.origin?.rank(first: first) ?? (-1, "", 0, 0)
      let rightRank = right.element.origin?.rank(first: first) ?? (-1, "", 0, 0)
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
