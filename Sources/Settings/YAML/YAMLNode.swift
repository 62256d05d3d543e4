/// A part of a settings file: a scalar, a list or a map, and where it stands.
///
/// Scalars stay text. YAML 1.1 would read `yes` as a boolean and `010` as eight; here the type comes from the
/// key that the scalar belongs to.
public struct YAMLNode: Sendable, Equatable {
  /// A key and its value in a map.
  public struct Entry: Sendable, Equatable {
    /// The key's text.
    public var key: String
    /// Where the key stands.
    public var position: SourcePosition
    /// The value.
    public var value: YAMLNode
  }

  /// What a node holds.
  public enum Content: Sendable, Equatable {
    /// Text; `isPlain` when it was written without quotes and not as a block.
    case scalar(String, isPlain: Bool)
    /// A list.
    case sequence([YAMLNode])
    /// A map, in the order of the file, without duplicate keys.
    case mapping([Entry])
  }

  /// What it holds.
  public var content: Content
  /// Where it stands. The value behind an alias stands where its anchor is.
  public var position: SourcePosition
  /// How many nodes it stands for when every alias is written out, itself included.
  var expandedCount: Int
  /// How many lists and maps are nested in it, itself included; 0 for a scalar.
  var depth: Int

  /// A map of nothing.
  static func empty(_ position: SourcePosition) -> YAMLNode {
    YAMLNode(content: .mapping([]), position: position, expandedCount: 1, depth: 1)
  }

  /// Whether this is YAML's "nothing": an empty value, `~` or `null`, without quotes.
  public var isNull: Bool {
    guard case .scalar(let text, isPlain: true) = content else { return false }
    return ["", "~", "null", "Null", "NULL"].contains(text)
  }

  /// "text", "a list", "a map": for messages.
  var kind: String {
    switch content {
    case .scalar: isNull ? "nothing" : "a single value"
    case .sequence: "a list"
    case .mapping: "a map"
    }
  }
}
