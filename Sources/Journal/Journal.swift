/// What happened in the life of this supervisor, in memory: the newest events, at most `capacity` of them.
///
/// A value without I/O: the owner appends, the status page reads. An event beyond the capacity drops the oldest
/// one and is counted, so a reader can tell that the beginning is missing.
public struct Journal: Sendable {
  /// One thing that happened.
  public struct Event: Hashable, Sendable {
    /// What an event is about.
    public enum Kind: String, CaseIterable, Sendable {
      /// The life cycle went on to another stage.
      case stage
      /// A phase changed its state.
      case phase
      /// A step of a phase changed its state.
      case step
      /// A process started, ended, or waits for its next start.
      case process
      /// The health of a process changed.
      case health
      /// A signal came, or was sent.
      case signal
      /// Somebody asked for a change over the control socket.
      case control
      /// Something that does not stop us, but that somebody should look at.
      case warning
    }

    /// Counts up from 1 over the whole life, also over what was dropped.
    public var number: UInt64
    /// When it happened.
    public var moment: Moment
    /// What it is about.
    public var kind: Kind
    /// The name of the process, step or phase; empty when there is none.
    public var subject: String
    /// What happened, in words.
    public var text: String
  }

  /// How many events are kept.
  public let capacity: Int
  /// How many events were dropped because newer ones came.
  public private(set) var droppedCount: UInt64 = 0

  // A ring: once full, `start` is the oldest event.
  private var ring: [Event] = []
  private var start = 0

  /// An empty journal that keeps the newest `capacity` events, at least one.
  public init(capacity: Int = 1000) {
    self.capacity = max(capacity, 1)
  }

  /// How many events are kept at present.
  public var count: Int { ring.count }

  /// Adds an event, and drops the oldest one when the journal is full.
  public mutating func append(_ kind: Event.Kind, _ subject: String, _ text: String, at moment: Moment) {
    let number = droppedCount + UInt64(ring.count) + 1
    let event = Event(number: number, moment: moment, kind: kind, subject: subject, text: text)
    guard ring.count == capacity else {
      ring.append(event)
      return
    }
    ring[start] = event
    start = (start + 1) % capacity
    droppedCount += 1
  }

  /// The kept events, oldest first.
  public var events: [Event] { Array(ring[start...]) + ring[..<start] }

  /// The newest `limit` events, oldest of them first.
  public func newest(_ limit: Int) -> [Event] {
    let taken = max(min(limit, ring.count), 0)
    return (ring.count - taken..<ring.count).map { ring[(start + $0) % ring.count] }
  }
}
