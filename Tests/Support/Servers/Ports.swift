import Glibc

/// A TCP port that is free now.
public func freePort() throws -> UInt16 {
  let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  defer { close(descriptor) }
  return try bindToFreePort(descriptor)
}

private func bindToFreePort(_ descriptor: Int32) throws -> UInt16 {
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
  var size = socklen_t(MemoryLayout<sockaddr_in>.size)
  let code = withUnsafeMutablePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      bind(descriptor, $0, size) == 0 ? getsockname(descriptor, $0, &size) : -1
    }
  }
  guard code == 0 else { throw HarnessError("no free port: \(errno)") }
  return UInt16(bigEndian: address.sin_port)
}

/// Takes connections into its queue, and never says anything.
public final class SilentListener {
  private let descriptor: Int32
  /// Where, on 127.0.0.1.
  public let port: UInt16

  /// Begins to listen.
  public init() throws {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    port = try bindToFreePort(descriptor)
    guard listen(descriptor, 16) == 0 else { throw HarnessError("listen: \(errno)") }
  }

  deinit { close(descriptor) }
}
