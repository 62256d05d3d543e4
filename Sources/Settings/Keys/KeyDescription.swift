/// What a key's value looks like.
public enum ValueType: Sendable, Equatable {
  /// Why a word cannot be, and what to write instead.
  public struct Refusal: Sendable, Equatable {
    /// What is wrong, as it follows the word.
    public var reason: String
    /// What to do about it.
    public var advice: String
  }

  /// What a text must look like.
  public enum TextRule: Sendable, Equatable {
    /// Any text.
    case any
    /// Printable, not longer than 200 bytes.
    case label
    /// A path.
    case path
    /// A path that starts with `/`.
    case absolutePath
    /// A PostgreSQL URL, or a connection string of `name=value` words.
    case postgresConnection
    /// A PostgreSQL URL.
    case postgresURL
    /// A Redis URL.
    case redisURL
    /// An http or https URL.
    case webURL
    /// A user, with or without a group: `www`, `1000`, `www:www`.
    case user
  }

  /// Text.
  case text(TextRule)
  /// A duration of at least `minimum`, or one of some words.
  case duration(atLeast: Duration, words: [String])
  /// `true` or `false`.
  case boolean
  /// A whole number.
  case integer(ClosedRange<Int>)
  /// A number.
  case number(ClosedRange<Double>)
  /// A size in bytes.
  case size
  /// One of some words; `later` are known words this version cannot do yet, with what they wait for; `never` are words
  /// that people try and that cannot be, with the reason and what to write instead.
  case choice([String], later: [String: String], never: [String: Refusal] = [:])
  /// A list, or a string for the shell.
  case command
  /// A signal that a process can be sent.
  case signal
  /// Where to listen.
  case listenAddress
  /// A URL for an http check.
  case httpTarget
  /// A host and port for a tcp check.
  case tcpTarget
  /// A file mode mask, octal.
  case umask
  /// A list of exit codes.
  case exitCodes
  /// A list of texts, each of which must look like this.
  case texts(TextRule)
  /// A map of variables.
  case environment
  /// A map of resource limits.
  case limits
  /// A map from a signal to a signal or `drop`.
  case signalMap
  /// Something to wait for.
  case wait
  /// A list of things to wait for.
  case waits
  /// A map that is passed on as it is, or one of some words.
  case map(words: [String])
}

/// Whether this version acts on a key.
public enum Availability: Sendable, Equatable {
  /// It does.
  case now
  /// It will; the text names the piece of work it comes with.
  case later(String)
  /// The key exists elsewhere, but makes no sense here; the text says why.
  case misplaced(String)
}

/// One row of the table of keys.
public struct KeyDescription: Sendable, Equatable {
  /// The path; `*` stands for a name, `[]` for an item of a list.
  public var path: String
  /// What the value looks like.
  public var type: ValueType
  /// The default as it would be written in a file; nil for none.
  public var defaultText: String?
  /// One line for the reference.
  public var summary: String
  /// Whether the value must never be shown.
  public var isSecret: Bool
  /// Whether this version acts on it.
  public var availability: Availability

  /// Whether the path has neither names nor items in it.
  public var hasFixedPath: Bool { !path.contains("*") && !path.hasPart("[]") }

  /// The environment variable that sets it: for scalars with a fixed path.
  public var environmentName: String? {
    if case .misplaced = availability { return nil }
    guard hasFixedPath, type.isSingleValue else { return nil }
    return "SUPERVISOR_" + path.uppercased().map { $0 == "." ? "_" : String($0) }.joined()
  }

}

extension ValueType {
  /// Whether it is a text of one piece, neither a list nor a map.
  var isSingleValue: Bool {
    switch self {
    case .text, .duration, .boolean, .integer, .number, .size, .choice, .signal, .listenAddress, .httpTarget,
      .tcpTarget, .umask:
      true
    case .command, .exitCodes, .texts, .environment, .limits, .signalMap, .wait, .waits, .map: false
    }
  }
}
