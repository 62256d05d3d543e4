import Foundation
import Glibc
import TestSupport

/// An API that answers each request as the test says, byte by byte if need be.
final class ScriptedAPI: @unchecked Sendable {
  /// What follows a request.
  enum Step {
    /// These bytes.
    case send(String)
    /// The connection is closed.
    case close
    /// Nothing, until the test opens this.
    case wait(DispatchSemaphore)
  }

  let port: UInt16
  private let listener: CInt
  private let lock = NSLock()
  private var descriptors: [CInt] = []
  private var lines: [String] = []

  /// Answers request number n (from 0 on, over all connections) with `script(n, its first line)`.
  init(_ script: @escaping @Sendable (Int, String) -> [Step]) throws {
    port = try freePort()
    listener = socket(AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
    var on: CInt = 1
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<CInt>.size))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
    let listener = listener
    let code = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(listener, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard code == 0, listen(listener, 16) == 0 else { throw HarnessError("listen: \(errno)") }
    Thread.detachNewThread { [self] in
      while true {
        let descriptor = accept(listener, nil, nil)
        guard descriptor >= 0 else { return }
        lock.withLock { descriptors.append(descriptor) }
        Thread.detachNewThread { [self] in serve(descriptor, script) }
      }
    }
  }

  /// Ends it, and every connection.
  func end() {
    shutdown(listener, CInt(SHUT_RDWR))
    lock.withLock { for descriptor in descriptors { shutdown(descriptor, CInt(SHUT_RDWR)) } }
  }

  /// The requests' first lines.
  var requests: [String] { lock.withLock { lines } }
  /// How many connections there were.
  var connections: Int { lock.withLock { descriptors.count } }

  private func serve(_ descriptor: CInt, _ script: (Int, String) -> [Step]) {
    var received: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while true {
      while let end = received.firstRange(of: Array("\r\n\r\n".utf8)) {
        let line = String(decoding: received.prefix { $0 != 13 }, as: UTF8.self)
        received.removeSubrange(..<end.upperBound)
        let number = lock.withLock {
          lines.append(line)
          return lines.count - 1
        }
        for step in script(number, line) {
          switch step {
          case .send(let text):
            let bytes = Array(text.utf8)
            _ = Glibc.send(descriptor, bytes, bytes.count, CInt(MSG_NOSIGNAL))
          case .close:
            shutdown(descriptor, CInt(SHUT_RDWR))
            return
          case .wait(let semaphore): semaphore.wait()
          }
        }
      }
      let count = recv(descriptor, &chunk, chunk.count, 0)
      guard count > 0 else { return }
      received += chunk.prefix(count)
    }
  }
}

/// An answer with a body.
func answer(_ body: String, status: String = "200 OK", headers: String = "") -> String {
  "HTTP/1.1 \(status)\r\n\(headers)Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
}
