import EventLoop
import NIOCore

/// The agent's connections to PostgreSQL. Used on one event loop only, where everything is also called back.
public final class PostgreSQLClient {
  /// On its way between the threads; only the loop looks into it.
  private final class Connections {
    var all: [UInt64: PostgreSQLConnection] = [:]
  }

  private let eventLoop: any NIOCore.EventLoop
  private let connections: Connections
  private let thread: ConnectionThread
  private var lastID: UInt64 = 0

  /// A client without connections; its thread begins with the first one.
  public init(eventLoop: any NIOCore.EventLoop) {
    self.eventLoop = eventLoop
    let connections = Connections()
    self.connections = connections
    let bound = NIOLoopBound(connections, eventLoop: eventLoop)
    thread = ConnectionThread { wire, event in
      eventLoop.execute { bound.value.all[wire]?.take(event) }
    }
  }

  /// How many connections there are, or are being made.
  public var count: Int { connections.all.count }

  /// Makes a connection.
  /// - Parameters:
  ///   - timeout: from now until it can be used.
  ///   - onEnd: is called once when it ends by itself after it was opened, not after `close`.
  ///   - completion: is called once, unless `close` comes first.
  @discardableResult
  public func open(
    _ target: PostgreSQLTarget, timeout: Duration,
    onEnd: @escaping (PostgreSQLFailure) -> Void = { _ in },
    _ completion: @escaping (Result<PostgreSQLSession, PostgreSQLFailure>) -> Void
  ) -> PostgreSQLConnection {
    lastID += 1
    let id = lastID
    let connection = PostgreSQLConnection(
      id: id, thread: thread, timeout: timeout, takesStandby: target.takesStandby, completion: completion,
      onEnd: onEnd,
      forget: { [connections] in connections.all[id] = nil })
    connections.all[id] = connection
    thread.post(.open(wire: id, target, timeout: timeout))
    return connection
  }

  /// Closes all connections without a word, and ends the thread.
  public func end() {
    connections.all.values.forEach { $0.close() }
    thread.post(.end)
  }
}
