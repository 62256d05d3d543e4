/// Where a network check connects to: an address and a port. Names other than `localhost` need a resolver, which
/// may block, so they have no place here.
public struct CheckEndpoint: Hashable, Sendable, CustomStringConvertible {
  /// The host part.
  public enum Host: Hashable, Sendable {
    /// An IP address: 4 or 16 bytes in network order. Nothing connects to any other number of bytes.
    case address([UInt8])
    /// 127.0.0.1 or ::1, whichever answers.
    case localhost
  }

  /// One address as the kernel takes it: 4 or 16 bytes in network order.
  public struct Candidate: Hashable, Sendable, CustomStringConvertible {
    /// The address, 4 or 16 bytes.
    public let bytes: [UInt8]
    /// The TCP port.
    public let port: UInt16

    /// `127.0.0.1:8000`, `[::1]:8000`.
    public var description: String { "\(IPAddressText.bracketed(bytes)):\(port)" }
  }

  /// The host part.
  public let host: Host
  /// The TCP port, 1 to 65535.
  public let port: UInt16

  /// An endpoint from its parts.
  public init(host: Host, port: UInt16) {
    self.host = host
    self.port = port
  }

  /// The addresses to try, in order; at least one.
  public var candidates: [Candidate] {
    switch host {
    case .address(let bytes): [Candidate(bytes: bytes, port: port)]
    case .localhost:
      // IPv4 first: it is what most servers bind, and where there is no IPv6 at all it spares an attempt.
      [
        Candidate(bytes: [127, 0, 0, 1], port: port),
        Candidate(bytes: Array(repeating: 0, count: 15) + [1], port: port),
      ]
    }
  }

  /// `127.0.0.1:8000`, `[::1]:8000`, `localhost:8000`.
  public var description: String {
    switch host {
    case .address(let bytes): Candidate(bytes: bytes, port: port).description
    case .localhost: "localhost:\(port)"
    }
  }
}
