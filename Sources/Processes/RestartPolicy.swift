import EventLoop

/// Whether, and after how long, a process that ended is started again.
///
/// A value without a clock or randomness of its own: time and jitter come in as inputs. The model is systemd's start
/// limit window beside an exponential backoff that a good run resets, so that neither a crash loop of milliseconds
/// nor one of a minute goes on for ever.
public struct RestartPolicy: Sendable, Equatable {
  /// When to start again.
  public enum Mode: Sendable, Equatable {
    /// Not at all.
    case never
    /// When the exit code is none of the success codes.
    case onFailure
    /// Whatever the exit code.
    case always
  }

  /// What follows an end.
  public enum Decision: Sendable, Equatable {
    /// Start again after this delay.
    case restart(after: Duration)
    /// The policy wants no restart.
    case complete
    /// It ended too often within the window.
    case giveUp
  }

  /// When to start again.
  public var mode: Mode
  /// The first delay.
  public var initialDelay: Duration
  /// No delay is longer, jitter included.
  public var maximumDelay: Duration
  /// Each delay is the last one times this.
  public var factor: Double
  /// The part of a delay that is random: 0.1 makes it 0.9 to 1.1 of itself.
  public var jitter: Double
  /// A run at least this long starts the delays anew.
  public var resetAfter: Duration
  /// So many ends within `limitWindow` are one too many.
  public var limitCount: Int
  /// The window of the limit.
  public var limitWindow: Duration
  /// Exit codes that count as success for `onFailure`.
  public var successCodes: Set<CInt>

  /// The defaults of settings.md for a service, but for the mode.
  public init(
    mode: Mode, initialDelay: Duration = .milliseconds(500), maximumDelay: Duration = .seconds(30),
    factor: Double = 2, jitter: Double = 0.1, resetAfter: Duration = .seconds(60), limitCount: Int = 10,
    limitWindow: Duration = .seconds(600), successCodes: Set<CInt> = [0]
  ) {
    self.mode = mode
    self.initialDelay = initialDelay
    self.maximumDelay = maximumDelay
    self.factor = factor
    self.jitter = jitter
    self.resetAfter = resetAfter
    self.limitCount = limitCount
    self.limitWindow = limitWindow
    self.successCodes = successCodes
  }

  /// Whether this end is a success.
  public func isSuccess(_ status: ExitStatus) -> Bool {
    guard case .exited(let code) = status else { return false }
    return successCodes.contains(code)
  }

  /// What has happened so far.
  public struct History: Sendable, Equatable {
    /// Delays given since the last good run.
    public var consecutiveDelays = 0
    /// When the process ended, within the window.
    public var recentEnds: [MonotonicInstant] = []

    /// Nothing has happened yet.
    public init() {}
  }

  /// Decides after an end that nobody asked for.
  /// - Parameters:
  ///   - status: how it ended; nil when it could not even be started.
  ///   - ranFor: how long it had run.
  ///   - random: a number from -1 to 1, for the jitter.
  public func decide(
    after status: ExitStatus?, ranFor: Duration, at now: MonotonicInstant, random: Double,
    history: inout History
  ) -> Decision {
    switch mode {
    case .never: return .complete
    case .onFailure: if let status, isSuccess(status) { return .complete }
    case .always: break
    }
    if ranFor >= resetAfter { history.consecutiveDelays = 0 }
    history.recentEnds.removeAll { now - $0 > limitWindow }
    history.recentEnds.append(now)
    if history.recentEnds.count > max(limitCount, 1) { history.recentEnds.removeFirst() }
    if history.recentEnds.count >= limitCount { return .giveUp }
    var seconds = Double(initialDelay.wholeNanoseconds)
    let most = Double(maximumDelay.wholeNanoseconds)
    for _ in 0..<history.consecutiveDelays where seconds < most { seconds *= factor }
    seconds = min(min(seconds, most) * (1 + jitter * random), most)
    history.consecutiveDelays += 1
    // 2^63, the nearest number to the longest delay there can be, is one too many for 64 bits.
    return .restart(after: .nanoseconds(Int64(exactly: max(seconds, 0).rounded(.down)) ?? .max))
  }
}
