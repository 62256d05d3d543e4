/// One message between PID 1 and its agent, as it goes over their stream socket.
///
/// A header of twelve bytes, then as many bytes of fields as it says (numbers big-endian):
///
///     offset  0  4 bytes  "SVAG"
///             4  1 byte   major version: the two programs must agree on it
///             5  1 byte   minor version: what was added; nobody refuses it
///             6  2 bytes  kind
///             8  4 bytes  length of the fields, at most 1 MiB
///
/// A field is a number of its own within its kind (1 byte), a shape (1 byte) and a value. Shape 0x01 is an unsigned
/// integer, 0x81 is text in UTF-8, 0x82 is bytes. Whoever does not know a shape can still step over it: below 0x80 the value is 8
/// bytes, from 0x80 on it is 4 bytes of length and as many bytes.
///
/// What is not known is passed over, kinds as well as fields, so that a minor version may add both. A change that
/// an older program would misread needs another major version.
public struct Frame: Hashable, Sendable {
  /// The major version that this program speaks, and the only one that it takes.
  public static let majorVersion: UInt8 = 1
  /// The minor version that this program speaks.
  public static let minorVersion: UInt8 = 0
  /// Bytes of fields that a frame may have.
  public static let maximumLength = 1 << 20

  static let magic: [UInt8] = Array("SVAG".utf8)
  static let headerLength = 12

  /// What the frame is about; see `AgentRequest` and `AgentReport`.
  public var kind: UInt16
  /// The fields, encoded.
  public var payload: [UInt8]

  /// A frame of the parts.
  public init(kind: UInt16, payload: [UInt8] = []) {
    self.kind = kind
    self.payload = payload
  }

  /// Header and fields. Empty when the fields are longer than a frame may be, which the writers of this module see to:
  /// they shorten texts.
  public var bytes: [UInt8] {
    guard payload.count <= Frame.maximumLength else { return [] }
    var bytes = Frame.magic + [Frame.majorVersion, Frame.minorVersion]
    bytes.reserveCapacity(Frame.headerLength + payload.count)
    bytes += [UInt8(truncatingIfNeeded: kind >> 8), UInt8(truncatingIfNeeded: kind)]
    bytes += bigEndian(UInt64(payload.count), count: 4)
    bytes += payload
    return bytes
  }
}

/// Why bytes are no frames. Nothing that follows them can be trusted: the connection is to be closed.
public enum FrameError: Error, Hashable, Sendable, CustomStringConvertible {
  /// Something else than a frame begins here.
  case notAFrame(start: [UInt8])
  /// A frame of another major version.
  case otherVersion(major: UInt8, minor: UInt8)
  /// A frame that says it is longer than any may be.
  case tooLong(UInt32)
  /// A frame of this kind whose fields cannot be read.
  case malformed(kind: UInt16, reason: String)
  /// The stream ended within a frame.
  case truncated

  /// One sentence for people.
  public var description: String {
    switch self {
    case .notAFrame(let start):
      let text = start.map { byte in
        (0x20..<0x7F).contains(byte)
          ? String(UnicodeScalar(byte)) : "\\x" + hexadecimal(UInt64(byte), digits: 2)
      }
      return "what it sent is not the agent protocol: it begins with '\(text.joined())'"
    case .otherVersion(let major, let minor):
      return "it speaks version \(major).\(minor) of the agent protocol, and this program version "
        + "\(Frame.majorVersion).\(Frame.minorVersion): install supervisor and supervisor-agent of the same release"
    case .tooLong(let length):
      return "it announced a message of \(length) bytes, and none may have more than 1 MiB"
    case .malformed(let kind, let reason):
      return "a message of kind 0x\(hexadecimal(UInt64(kind), digits: 4)) \(reason)"
    case .truncated: return "its last message was cut off"
    }
  }
}

/// The last `count` bytes of a number, the highest first.
func bigEndian(_ value: UInt64, count: Int) -> [UInt8] {
  (0..<count).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * (count - 1 - $0))) }
}

/// A number from its bytes, the highest first; at most eight of them.
func number(_ bytes: some Sequence<UInt8>) -> UInt64 {
  bytes.reduce(0) { $0 << 8 | UInt64($1) }
}

private func hexadecimal(_ value: UInt64, digits: Int) -> String {
  let text = String(value, radix: 16)
  return String(repeating: "0", count: max(0, digits - text.count)) + text
}
