/// What this node is in its cluster.
public enum LiteFSRole: Equatable, Sendable, CustomStringConvertible {
  /// It takes writes.
  case primary
  /// It follows the node of this name.
  case replica(of: String)
  /// No primary is known: it can be read, as of the last that came.
  case none
  /// LiteFS does not say.
  case unknown

  /// For people.
  public var description: String {
    switch self {
    case .primary: "primary"
    case .replica(let name): "replica of \(name)"
    case .none: "no primary known"
    case .unknown: "unknown"
    }
  }
}
