import EventLoop

/// One accepted connection.
final class Connection {
  let descriptor: FileDescriptor
  let peer: Peer
  var parser: HTTPRequestParser
  var output: [UInt8] = []
  var writtenCount = 0
  var discardedCount = 0
  /// The peer will send nothing more.
  var inputHasEnded = false

  fileprivate(set) var stage = ConnectionTable.Stage.receiving
  fileprivate(set) var deadline: MonotonicInstant
  // Neighbours in the queue of the stage, by descriptor; -1: none.
  fileprivate var older: CInt = -1
  fileprivate var newer: CInt = -1

  init(
    descriptor: consuming FileDescriptor, peer: Peer, parser: HTTPRequestParser, deadline: MonotonicInstant
  ) {
    self.descriptor = descriptor
    self.peer = peer
    self.parser = parser
    self.deadline = deadline
  }
}

/// The open connections, queued by stage in the order in which they came to it.
///
/// As each stage gives every connection the same time, the head of a queue is also the one whose deadline comes
/// first. Every operation takes constant time.
struct ConnectionTable {
  /// What a connection is about.
  enum Stage: Int, CaseIterable {
    /// Its request is not complete.
    case receiving
    /// Its answer is being taken.
    case sending
    /// Its answer has been taken; it is kept open so that bytes still on their way do not reset it before the
    /// peer has read the answer.
    case lingering
  }

  private var connections: [CInt: Connection] = [:]
  private var oldest: [CInt] = [-1, -1, -1]
  private var newest: [CInt] = [-1, -1, -1]

  var count: Int { connections.count }
  var isEmpty: Bool { connections.isEmpty }
  var descriptors: [CInt] { Array(connections.keys) }

  subscript(descriptor: CInt) -> Connection? { connections[descriptor] }

  /// The connection that has been in `stage` longest.
  func oldest(in stage: Stage) -> Connection? { connections[oldest[stage.rawValue]] }

  /// When something must be done next.
  var earliestDeadline: MonotonicInstant? {
    Stage.allCases.compactMap { oldest(in: $0)?.deadline }.min()
  }

  /// A connection whose time is up.
  func expired(at now: MonotonicInstant) -> Connection? {
    for stage in Stage.allCases {
      if let connection = oldest(in: stage), connection.deadline <= now { return connection }
    }
    return nil
  }

  /// The connection to give up when there is no room: the one that has been open longest among those that have had
  /// their answer, else among those without a complete request, else among those that take their answer slowly.
  var expendable: Connection? {
    oldest(in: .lingering) ?? oldest(in: .receiving) ?? oldest(in: .sending)
  }

  mutating func insert(_ connection: Connection) {
    connections[connection.descriptor.rawValue] = connection
    link(connection)
  }

  mutating func move(_ connection: Connection, to stage: Stage, deadline: MonotonicInstant) {
    unlink(connection)
    connection.stage = stage
    connection.deadline = deadline
    link(connection)
  }

  mutating func remove(_ connection: Connection) {
    unlink(connection)
    connections[connection.descriptor.rawValue] = nil
  }

  private mutating func link(_ connection: Connection) {
    let stage = connection.stage.rawValue
    let own = connection.descriptor.rawValue
    connection.older = newest[stage]
    connection.newer = -1
    connections[newest[stage]]?.newer = own
    newest[stage] = own
    if oldest[stage] < 0 { oldest[stage] = own }
  }

  private mutating func unlink(_ connection: Connection) {
    let stage = connection.stage.rawValue
    let own = connection.descriptor.rawValue
    connections[connection.older]?.newer = connection.newer
    connections[connection.newer]?.older = connection.older
    if oldest[stage] == own { oldest[stage] = connection.newer }
    if newest[stage] == own { newest[stage] = connection.older }
    connection.older = -1
    connection.newer = -1
  }
}
