/// Takes frames out of a stream of bytes, however the stream was cut.
///
/// Keeps at most one frame and what was appended at once. After an error nothing more comes out of it: where the next
/// frame would begin cannot be known.
public struct FrameDecoder: Sendable {
  private var buffer: [UInt8] = []
  private var start = 0
  private var failure: FrameError?

  /// A decoder at the start of a stream.
  public init() {}

  /// Adds what was read.
  public mutating func append(_ bytes: some Sequence<UInt8>) {
    guard failure == nil else { return }
    if start > 0 {
      buffer.removeFirst(start)
      start = 0
    }
    buffer.append(contentsOf: bytes)
  }

  /// The next whole frame, of a known kind or not; nil when more bytes are needed.
  /// - Throws: as soon as the first byte that cannot belong to a frame has come.
  public mutating func next() throws(FrameError) -> Frame? {
    if let failure { throw failure }
    do throws(FrameError) {
      return try take()
    } catch {
      failure = error
      buffer = []
      start = 0
      throw error
    }
  }

  /// To be called at the end of the stream, when `next` has nothing more.
  /// - Throws: when it ended within a frame.
  public func finish() throws(FrameError) {
    if let failure { throw failure }
    if start < buffer.count { throw .truncated }
  }

  private mutating func take() throws(FrameError) -> Frame? {
    let bytes = buffer[start...]
    guard bytes.prefix(4).elementsEqual(Frame.magic.prefix(bytes.count)) else {
      throw .notAFrame(start: Array(bytes.prefix(16)))
    }
    guard bytes.count > 4 else { return nil }
    let major = bytes[start + 4]
    guard major == Frame.majorVersion else {
      guard bytes.count > 5 else { return nil }
      throw .otherVersion(major: major, minor: bytes[start + 5])
    }
    guard bytes.count >= Frame.headerLength else { return nil }
    let length = UInt32(truncatingIfNeeded: number(bytes[(start + 8)..<(start + 12)]))
    guard length <= Frame.maximumLength else { throw .tooLong(length) }
    let end = start + Frame.headerLength + Int(length)
    guard buffer.count >= end else { return nil }
    let kind = UInt16(truncatingIfNeeded: number(bytes[(start + 6)..<(start + 8)]))
    let frame = Frame(kind: kind, payload: Array(buffer[(start + Frame.headerLength)..<end]))
    start = end
    return frame
  }
}
