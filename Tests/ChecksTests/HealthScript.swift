import EventLoop
import Testing

@testable import Checks

/// What happens to a service in a test, at a time in milliseconds since the test's start.
enum Happening: Sendable {
  case start(UInt64)
  case stop
  /// The timer is delivered, whenever it was set to.
  case timer
  /// The outstanding run passes, fails, or could not run.
  case pass
  case fail
  case unable
  /// The outstanding run fails with this reason.
  case failBecause(String)
  /// The run before the outstanding one reports, late.
  case oldPass
  case oldFail
}

/// Drives one `ServiceHealth` and keeps what its owner would: the runs, the timer.
struct HealthScript {
  var health: ServiceHealth
  var runs: [ServiceHealth.Run] = []
  var timer: Int?
  var changes: [String] = []
  var cancelled: [ServiceHealth.Run] = []
  var probeTimeout: Duration?

  init(_ definition: CheckDefinition?) {
    health = ServiceHealth(definition: definition)
  }

  static func instant(_ milliseconds: Int) -> MonotonicInstant {
    MonotonicInstant(nanoseconds: 5_000_000_000 + UInt64(milliseconds) * 1_000_000)
  }

  /// Rounded up, so that a timer delivered then is never early.
  static func milliseconds(_ instant: MonotonicInstant) -> Int {
    Int((instant.nanoseconds - 5_000_000_000 + 999_999) / 1_000_000)
  }

  mutating func feed(_ happening: Happening, at milliseconds: Int) throws {
    let last = runs.last
    let event: ServiceHealth.Event =
      switch happening {
      case .start(let incarnation): .started(incarnation)
      case .stop: .stopped
      case .timer: .timer
      case .pass: .result(try #require(last), .passed)
      case .fail: .result(try #require(last), .failed("refused"))
      case .failBecause(let reason): .result(try #require(last), .failed(reason))
      case .unable: .result(try #require(last), .couldNotRun("no descriptor left"))
      case .oldPass: .result(try #require(runs.dropLast().last), .passed)
      case .oldFail: .result(try #require(runs.dropLast().last), .failed("refused"))
      }
    send(event, at: milliseconds)
  }

  mutating func send(_ event: ServiceHealth.Event, at milliseconds: Int) {
    for effect in health.handle(event, at: HealthScript.instant(milliseconds)) {
      switch effect {
      case .probe(let run, let timeout):
        runs.append(run)
        probeTimeout = timeout
      case .cancelProbe(let run): cancelled.append(run)
      case .scheduleTimer(let when): timer = HealthScript.milliseconds(when)
      case .cancelTimer: timer = nil
      case .changed(let from, let to, let reason): changes.append("\(name(from))>\(name(to)): \(reason)")
      }
    }
  }
}

/// A state's name without its reason.
func name(_ state: ServiceHealth.State) -> String {
  switch state {
  case .none: "none"
  case .unknown: "unknown"
  case .healthy: "healthy"
  case .unhealthy: "unhealthy"
  }
}

let anyMethod = CheckDefinition.Method.exec(.shell("true"))
