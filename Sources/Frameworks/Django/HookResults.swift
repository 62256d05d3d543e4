/// What a `hooks` program did: which hooks there are, and how each of those that were called ended.
public struct HookResults: Equatable, Sendable {
  /// A hook of an app.
  public struct Hook: Equatable, Sendable {
    /// `label.handle_node_init`.
    public var name: String
    /// `infrastructure` or `node`.
    public var phase: String
    /// The app's label.
    public var app: String
    /// The class that has it, with its module.
    public var type: String
  }

  /// How a call ended.
  public struct Result: Equatable, Sendable {
    /// The hook's name.
    public var name: String
    /// Unix nanoseconds.
    public var startedAt: Int64
    /// Unix nanoseconds; nil when it never came back.
    public var endedAt: Int64?
    /// How long it took, by a clock that never jumps.
    public var seconds: Double?
    /// Why it failed; nil when it did not.
    public var failure: Failure?

    /// Whether it came to its end.
    public var isDone: Bool { endedAt != nil && failure == nil }
  }

  /// What a hook raised.
  public struct Failure: Equatable, Sendable {
    /// The traceback's last line: `ValueError: no`.
    public var message: String
    /// Where it was raised, preferably in the project.
    public var file: String
    /// Its line.
    public var line: Int
    /// All of it, at most 16 KiB.
    public var traceback: String
  }

  /// The hooks of the phase, in the order of INSTALLED_APPS.
  public var hooks: [Hook] = []
  /// The calls, in order.
  public var results: [Result] = []
  /// Whether the program came to its own end. When not, it was killed, or a hook ended the process past Python.
  public var isComplete = false
  /// Why no hook was called.
  public var failure: DjangoFailure?

  /// The names of the hooks that came to their end.
  public var done: [String] { results.filter(\.isDone).map(\.name) }

  /// The names of the hooks to call again: those that failed or never came back, and those that were not reached because
  /// the program ended before.
  public var unfinished: [String] {
    let done = Set(done)
    if isComplete { return results.map(\.name).filter { !done.contains($0) } }
    return hooks.map(\.name).filter { !done.contains($0) }
  }

  /// Why the step that ran the program failed; nil when it did not.
  ///
  /// To be asked beside the exit code: a hook that ends the process by `os._exit(0)` leaves exit code 0 and work undone.
  public var problem: String? {
    if let failure { return failure.description }
    let failed = results.filter { $0.failure != nil }
    if let first = failed.first, let failure = first.failure {
      let others = failed.count > 1 ? " (and \(failed.count - 1) more)" : ""
      let place = failure.file.isEmpty ? "" : " at \(Printable.text(failure.file)):\(failure.line)"
      return
        "hook \(Printable.text(first.name)) failed\(place): \(Printable.text(failure.message, limit: 500))\(others)"
    }
    if isComplete { return nil }
    if let running = results.last(where: { $0.endedAt == nil }) {
      return "hook \(Printable.text(running.name)) ended the process, or the process was killed in it"
    }
    return "the program that calls the hooks came to no end"
  }

  /// Reads what the program left; nil when it is not ours.
  public static func decode(_ bytes: [UInt8]) -> HookResults? {
    guard let lines = ResultLines.read(bytes) else { return nil }
    guard let first = lines.first else { return HookResults() }
    guard first == ["supervisor-django", "1"] else { return nil }
    var results = HookResults()
    for (index, line) in lines.enumerated().dropFirst() {
      if line == ["end"], index == lines.count - 1 {
        results.isComplete = true
      } else if !results.take(line) {
        return nil
      }
    }
    return results
  }

  private mutating func take(_ line: [String]) -> Bool {
    switch (line.first ?? "", line.count) {
    case ("python", 3), ("django", 3): break
    case ("hook", 5): hooks.append(Hook(name: line[1], phase: line[2], app: line[3], type: line[4]))
    case ("started", 3):
      guard let time = Int64(line[2]) else { return false }
      results.append(Result(name: line[1], startedAt: time))
    case ("done", 5):
      return finish(line, failure: nil)
    case ("failed", 9):
      guard let number = Int(line[6 + 1]) else { return false }
      return finish(
        line, failure: Failure(message: line[5], file: line[6], line: number, traceback: line[8]))
    case ("error", 5):
      guard let kind = DjangoFailure.Kind(rawValue: line[1]), let number = Int(line[4]) else { return false }
      failure = DjangoFailure(kind, line[2], file: line[3], line: number)
    default: return false
    }
    return true
  }

  /// Ends the call that is under way.
  private mutating func finish(_ line: [String], failure: Failure?) -> Bool {
    guard let index = results.indices.last, results[index].name == line[1], results[index].endedAt == nil,
      let ended = Int64(line[3]), let seconds = Double(line[4])
    else { return false }
    results[index].endedAt = ended
    results[index].seconds = seconds
    results[index].failure = failure
    return true
  }
}
