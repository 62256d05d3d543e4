import EventLoop

/// What a line of the log is about, for programs that read it (`log.format: json`) and for the journal.
///
/// Names of events are stable. Of steps: `step_started`, `step_done`, `step_skipped`, `step_failed`, `step_interrupted`,
/// `step_not_started`, `step_rolling_back`, `step_rolled_back`, `step_rollback_failed`; of phases: `phase_started`,
/// `phase_waiting`, `phase_done`, `phase_failed`.
public struct EventFields: Equatable, Sendable {
  /// The event's name; empty for a line that is only for people.
  public var event = ""
  /// `infrastructure` or `node`.
  public var phase: String?
  /// The step's name.
  public var step: String?
  /// The process's name.
  public var process: String?
  /// How long it took.
  public var duration: Duration?
  /// Why, for people.
  public var reason: String?
  /// Of what ends the program: the stable word that `exit.json` has as its `reason`.
  public var exitReason: String?

  /// Fields.
  public init(
    _ event: String = "", phase: String? = nil, step: String? = nil, process: String? = nil,
    duration: Duration? = nil, reason: String? = nil
  ) {
    self.event = event
    self.phase = phase
    self.step = step
    self.process = process
    self.duration = duration
    self.reason = reason
  }

  /// The members of a JSON object, those that are set.
  public var members: [(String, JSON)] {
    var members: [(String, JSON)] = []
    if !event.isEmpty { members.append(("event", .string(event))) }
    for (name, value) in [("phase", phase), ("step", step), ("process", process)] {
      if let value { members.append((name, .string(value))) }
    }
    if let duration { members.append(("seconds", .seconds(duration))) }
    if let reason { members.append(("reason", .string(reason))) }
    if let exitReason { members.append(("exit_reason", .string(exitReason))) }
    return members
  }
}
