/// An input for what reads a stream. Its first byte says how the others are cut.
public struct CutInput {
  /// The first byte.
  public let first: UInt8
  /// The others.
  public let bytes: [UInt8]

  /// The input that libFuzzer gives; nil when it is empty.
  public init?(_ start: UnsafePointer<UInt8>?, _ count: Int) {
    let input = UnsafeBufferPointer(start: start, count: count)
    guard let first = input.first else { return nil }
    self.first = first
    bytes = Array(input.dropFirst())
  }

  /// What `read` makes of the bytes in one piece, which has to be what it makes of small pieces.
  /// - Parameter number: from it comes how small.
  public func outcome<Outcome: Equatable>(
    cutBy number: UInt8, _ read: ([ArraySlice<UInt8>]) -> Outcome
  ) -> Outcome {
    let size = Int(number) % 17 + 1
    let pieces = stride(from: 0, to: bytes.count, by: size).map {
      bytes[$0..<min($0 + size, bytes.count)]
    }
    let whole = read(bytes.isEmpty ? [] : [bytes[...]])
    precondition(whole == read(pieces))
    return whole
  }
}

/// Whether a terminal shows all of it, and does nothing else with it.
public func isPrintable(_ text: String) -> Bool {
  text.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value < 0x7f }
}
