/// The pauses between attempts: 0.1 s, twice as long each time up to 1 s, and each a random half shorter, so that the
/// nodes of a fleet do not come back in one moment.
struct Backoff: Sendable {
  private static let first = 100
  private static let longest = 1000

  private var milliseconds = Backoff.first

  /// The next pause.
  mutating func next() -> Duration {
    defer { milliseconds = min(milliseconds * 2, Self.longest) }
    return .milliseconds(Int.random(in: (milliseconds / 2)...milliseconds))
  }
}
