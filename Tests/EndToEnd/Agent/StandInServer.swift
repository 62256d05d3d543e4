import Foundation
import Glibc
import Synchronization

/// A server on this machine that answers whatever it is asked with the bytes that were set last.
final class StandInServer: Sendable {
  let port: UInt16
  private let answer: Mutex<String?>
  private let requestText = Mutex("")
  private let socket: Int32

  /// - Parameter answer: nil keeps the connection open and says nothing; "" closes it.
  init(answer: String?) throws {
    let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard socket >= 0 else { throw HarnessError.system("socket") }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isBound = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(socket, $0, length) == 0 && listen(socket, 64) == 0 && getsockname(socket, $0, &length) == 0
      }
    }
    guard isBound else { throw HarnessError.system("bind") }
    self.socket = socket
    port = UInt16(bigEndian: address.sin_port)
    self.answer = Mutex(answer)
    Thread.detachNewThread { [self] in serve() }
  }

  /// The head of the last request.
  var lastRequest: String { requestText.withLock { $0 } }

  func set(_ answer: String?) {
    self.answer.withLock { $0 = answer }
  }

  static func status(_ line: String) -> String {
    "HTTP/1.1 \(line)\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
  }

  /// Stops listening; the thread ends.
  func close() {
    shutdown(socket, Int32(SHUT_RDWR))
  }

  private func serve() {
    var silent: [Int32] = []
    while true {
      let connection = accept(socket, nil, nil)
      guard connection >= 0 else { break }
      guard let answer = answer.withLock({ $0 }) else {
        silent.append(connection)
        continue
      }
      var bytes: [UInt8] = []
      var buffer = [UInt8](repeating: 0, count: 4096)
      while !answer.isEmpty, !String(decoding: bytes, as: UTF8.self).contains("\r\n\r\n") {
        let size = recv(connection, &buffer, buffer.count, 0)
        guard size > 0 else { break }
        bytes += buffer[..<size]
      }
      let text = String(decoding: bytes, as: UTF8.self)
      requestText.withLock { $0 = text }
      _ = send(connection, answer, answer.utf8.count, Int32(MSG_NOSIGNAL))
      Glibc.close(connection)
    }
    for connection in silent { Glibc.close(connection) }
    Glibc.close(socket)
  }
}

/// Runs `body` with such a server.
func withStandInServer<Result>(
  answering answer: String?, _ body: (StandInServer) throws -> Result
) throws -> Result {
  let server = try StandInServer(answer: answer)
  defer { server.close() }
  return try body(server)
}
