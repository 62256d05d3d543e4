/// How LiteFS's mount point is, seen from outside of LiteFS.
public struct LiteFSMount: Hashable, Sendable {
  /// What is there.
  public enum State: UInt64, Hashable, Sendable, CaseIterable {
    /// Nothing of this name.
    case absent = 0
    /// An ordinary directory with something in it, which a mount would hide.
    case directory = 1
    /// An ordinary directory that is empty: what is written there is not LiteFS's.
    case emptyDirectory = 2
    /// Something else is there: another file system, or no directory. See `text`.
    case other = 3
    /// LiteFS's mount, and it answers.
    case works = 4
    /// LiteFS's mount, and the process that served it is gone: `Transport endpoint is not connected`.
    case dead = 5
    /// It does not answer. See `hungFor`.
    case hung = 6
    /// LiteFS's mount, and we may not look into it: it was mounted by another user without `allow-other`.
    case denied = 7
    /// It cannot be looked at. See `text`.
    case failed = 8
  }

  /// What is there.
  public var state: State
  /// What else there is to say, for people; often empty.
  public var text: String
  /// How many mounts lie there, one upon the other.
  public var layers: UInt64
  /// For how long a look at it has been under way without an answer.
  public var hungFor: Duration
  /// Bytes that are free for us where the data directory is; nil: not known.
  public var freeSpace: UInt64?

  /// A mount point.
  public init(
    _ state: State, text: String = "", layers: UInt64 = 0, hungFor: Duration = .zero, freeSpace: UInt64? = nil
  ) {
    self.state = state
    self.text = text
    self.layers = layers
    self.hungFor = hungFor
    self.freeSpace = freeSpace
  }
}

/// A process that holds something in the mount.
public struct LiteFSHolder: Hashable, Sendable {
  /// The process.
  public var pid: Int32
  /// What it holds: `file`, `map`, `cwd`, `root` or `program`, a blank, and the path.
  public var what: String

  /// A holder.
  public init(pid: Int32, what: String) {
    self.pid = pid
    self.what = what
  }
}

extension LiteFSMount {
  private enum Field {
    static let state: UInt8 = 16
    static let text: UInt8 = 17
    static let layers: UInt8 = 18
    static let hungFor: UInt8 = 19
    static let freeSpace: UInt8 = 20
  }

  func write(to fields: inout FieldWriter) {
    fields.write(state.rawValue, as: Field.state)
    fields.write(text, as: Field.text)
    fields.write(layers, as: Field.layers)
    fields.write(hungFor, as: Field.hungFor)
    if let freeSpace { fields.write(freeSpace, as: Field.freeSpace) }
  }

  init(_ fields: FieldReader) throws(FrameError) {
    // A state of a newer agent: at least it does not work.
    self.init(
      State(rawValue: try fields.integer(Field.state)) ?? .failed, text: try fields.text(Field.text),
      layers: try fields.integer(Field.layers), hungFor: try fields.duration(Field.hungFor))
    if fields.has(Field.freeSpace) { freeSpace = try fields.integer(Field.freeSpace) }
  }
}
