import CLinux
import EventLoop
import Glibc

/// Why there is no control socket.
public enum ControlSocketError: Error, Equatable, Sendable, CustomStringConvertible {
  /// Another supervisor answers there.
  case inUse(path: String)
  /// Something that is no socket has its name.
  case inTheWay(path: String)
  /// The kernel refused.
  case system(SystemError)

  /// What happened, and what to do about it.
  public var description: String {
    switch self {
    case .inUse(let path):
      "another supervisor runs here: \(path) is answered. Stop it, or give this one its own run_dir"
    case .inTheWay(let path):
      "\(path) is in the way of the control socket and is no socket. Remove it, or choose another run_dir"
    case .system(let error): error.description
    }
  }
}

/// The socket in the private directory over which clients read and change; served by the same code as the health
/// page. The file goes when `close` is called, unless another has taken its place.
public final class ControlSocket {
  /// Connections on this socket at the same time.
  public static let connectionLimit = 128

  /// Where it is.
  public let path: String

  private let server: HTTPServer
  private let identity: Identity?
  private var isOpen = true

  /// Listens in `runDirectory`, which must exist and be ours; its socket gets mode 0666, as peers are told apart by
  /// their credentials. A socket left behind by a dead supervisor is replaced.
  public init(
    on loop: EventLoop, runDirectory: String,
    limits: HTTPServer.Limits = HTTPServer.Limits(
      connections: HTTPServer.Limits.connectionsWithin(ControlSocket.connectionLimit)),
    handler: @escaping HTTPServer.Handler
  ) throws(ControlSocketError) {
    path = RunDirectory.socketPath(in: runDirectory)
    let listener = try ControlSocket.listen(path)
    identity = Identity(path: path)
    do throws(SystemError) {
      server = try HTTPServer(
        on: loop, listener: listener, transport: .unix, limits: limits, handler: handler)
    } catch {
      _ = unlink(path)
      throw .system(error)
    }
  }

  /// How many connections are open.
  public var connectionCount: Int { server.connectionCount }

  /// Called for errors of accept(2); see `HTTPServer.onAcceptFailure`.
  public var onAcceptFailure: ((SystemError) -> Void)? {
    get { server.onAcceptFailure }
    set { server.onAcceptFailure = newValue }
  }

  /// Ends all connections and removes the socket. Does nothing the second time.
  public func close() {
    guard isOpen else { return }
    isOpen = false
    server.close()
    if let identity, identity == Identity(path: path) { _ = unlink(path) }
  }

  deinit {
    close()
  }

  private static func listen(_ path: String) throws(ControlSocketError) -> FileDescriptor {
    // Somebody may make or remove the socket between two looks at it, so once is not enough; but not for ever.
    for _ in 0..<3 {
      let listener = clinux_unix_listen(path, 0o666, 128)
      if listener >= 0 { return FileDescriptor(owning: listener) }
      guard listener == -EADDRINUSE else { throw failure(-listener, path) }
      let connection = clinux_unix_connect_within(path, 0)
      if connection >= 0 { _ = clinux_close(connection) }
      switch connection {
      case -ENOENT: continue
      case -ECONNREFUSED:
        // This is also the answer for a file that is no socket.
        guard let mode = Identity(path: path)?.mode else { continue }
        guard mode & S_IFMT == S_IFSOCK else { throw .inTheWay(path: path) }
        guard unlink(path) == 0 || errno == ENOENT else { throw failure(errno, path) }
      case -EAGAIN: throw .inUse(path: path)
      case 0...: throw .inUse(path: path)
      default: throw failure(-connection, path)
      }
    }
    throw failure(EADDRINUSE, path)
  }

  private static func failure(_ code: CInt, _ path: String) -> ControlSocketError {
    .system(SystemError(code: code, operation: "listen on the control socket", subject: path))
  }

  /// Which file a path names.
  private struct Identity: Equatable {
    var device: UInt
    var inode: UInt
    var mode: mode_t

    init?(path: String) {
      var status = stat()
      guard lstat(path, &status) == 0 else { return nil }
      device = UInt(status.st_dev)
      inode = UInt(status.st_ino)
      mode = status.st_mode
    }
  }
}
