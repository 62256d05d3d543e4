import Foundation
import Glibc
import Synchronization
import TestSupport

/// A server that answers as it is told: to what Redis would not say when it is asked to.
final class ScriptedServer: Sendable {
  /// What happens on a connection once something has come, or at once where nothing is waited for.
  enum Act: Sendable {
    /// Waits until the client has said something.
    case hear
    case say(String)
    /// Says this again and again, as long as the client listens.
    case repeatForever(String)
    /// Keeps the connection until the client closes it.
    case hold
  }

  let port: UInt16
  private let socket: Int32
  /// For the connections in their order; the last one is for all that follow.
  private let scripts: [[Act]]
  private let count = Mutex(0)
  /// Bytes that went out before the client was gone.
  private let sent = Mutex(0)

  init(_ scripts: [Act]...) throws {
    let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isBound = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(socket, $0, length) == 0 && listen(socket, 64) == 0 && getsockname(socket, $0, &length) == 0
      }
    }
    guard isBound else { throw HarnessError("bind: \(errno)") }
    self.socket = socket
    self.scripts = scripts
    port = UInt16(bigEndian: address.sin_port)
    Thread.detachNewThread { [self] in serve() }
  }

  var url: String { "redis://127.0.0.1:\(port)" }
  var connections: Int { count.withLock { $0 } }
  var bytesSent: Int { sent.withLock { $0 } }

  func close() { shutdown(socket, Int32(SHUT_RDWR)) }

  private func serve() {
    while true {
      let connection = accept(socket, nil, nil)
      guard connection >= 0 else { break }
      let number = count.withLock { count in
        count += 1
        return count - 1
      }
      let script = scripts[min(number, scripts.count - 1)]
      Thread.detachNewThread { [self] in
        play(script, connection)
        Glibc.close(connection)
      }
    }
    Glibc.close(socket)
  }

  private func play(_ script: [Act], _ connection: Int32) {
    var buffer = [UInt8](repeating: 0, count: 65536)
    for act in script {
      switch act {
      case .hear: guard recv(connection, &buffer, buffer.count, 0) > 0 else { return }
      case .say(let text): guard say(text, connection) else { return }
      case .repeatForever(let text): while say(text, connection) {}
      case .hold: while recv(connection, &buffer, buffer.count, 0) > 0 {}
      }
    }
  }

  private func say(_ text: String, _ connection: Int32) -> Bool {
    let bytes = Array(text.utf8)
    var index = 0
    while index < bytes.count {
      let size = bytes[index...].withUnsafeBytes {
        send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      guard size > 0 else { return false }
      index += size
      sent.withLock { $0 += size }
    }
    return true
  }
}
