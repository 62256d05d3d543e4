import EventLoop
import Processes

/// The life of this node's LiteFS: clear what an earlier one left mounted, start it, wait until it serves; when it is
/// lost, end those who use it first, and begin again. A value: its owner clears, spawns and stops.
///
/// LiteFS itself would not do: two of them take the mount from each other without a word, one whose mount was removed
/// goes on as if nothing had happened, one that waits for its cluster ignores TERM, and what has files open dies of
/// SIGBUS, or finds "Transport endpoint is not connected", when it goes.
public struct LiteFSLife: Sendable {
  /// What happens.
  public enum Event: Sendable, Equatable {
    /// Start.
    case begin
    /// The answer to `clear`: nothing is mounted there any more; or something is, for this reason.
    case cleared(failure: String?)
    /// The process runs.
    case spawned
    /// There is no process, for this reason.
    case spawnFailed(String)
    /// The process has ended.
    case ended(ExitStatus)
    /// A look at the mount.
    case mount(MountState)
    /// What the role is now.
    case role(LiteFSRole)
    /// What `.lag` says.
    case lag(Lag)
    /// The answer to `stopUsers`.
    case usersStopped
    /// The time of the last `schedule` has come.
    case timer
    /// It is to end; those who use it have ended.
    case stop
  }

  /// What is to be done.
  public enum Effect: Sendable, Equatable {
    /// Unmount what is there, lazily, until the mount table lists nothing; answer with `cleared`. `aborts`: cut its
    /// connection in the kernel, too, since something hangs in it.
    case clear(aborts: Bool)
    /// Start the process; answer with `spawned` or `spawnFailed`, then `ended`.
    case spawn
    /// End the process: TERM, and KILL after its time, for it may ignore the first. `atOnce`: KILL. Answer with `ended`.
    case end(atOnce: Bool)
    /// It serves: who uses it may start.
    case ready
    /// It does not serve any more, for this reason: end those who use it; answer with `usersStopped`.
    case stopUsers(String)
    /// Feed `timer` at this time; replaces an earlier wish.
    case schedule(MonotonicInstant)
    /// No timer is wanted any more.
    case unschedule
    /// Worth a line in the log; `isBad`: somebody should look at it.
    case note(String, isBad: Bool)
    /// It never came, or never will.
    case failed(Failure)
    /// Over: no process, no mount.
    case finished
  }

  /// Why there will be no LiteFS.
  public struct Failure: Sendable, Equatable {
    /// Of which kind.
    public enum Kind: Sendable, Equatable {
      /// It does not take its settings, or cannot be run.
      case settings
      /// It did not come in time.
      case unavailable
    }

    /// Of which kind.
    public var kind: Kind
    /// One sentence.
    public var text: String
  }

  enum State: Sendable, Equatable {
    case idle
    /// Of what was left, before the start.
    case clearing
    case spawning
    /// The process runs; it is not ready.
    case starting
    case ready
    /// They are asked to end, since the mount is lost.
    case losingUsers
    /// The process is asked to end, since its mount is lost.
    case ending
    /// Before the next start.
    case pausing
    /// Somebody else's: not ready.
    case watching
    case stopping
    case sweeping
    case finished
  }

  private let rules: LiteFSRules
  var state = State.idle
  private var mount = MountState.unknown
  /// What this node is.
  public private(set) var role = LiteFSRole.unknown
  private var isSynced = false
  private var processRuns = false
  /// Whether this process has had a mount: then an end with code 2 is no error of its settings.
  private var wasMounted = false
  private var hungLooks = 0
  /// How the last process ended.
  private var lastStatus: ExitStatus?
  /// Ends in a row.
  private var ends = 0
  private var readySince: MonotonicInstant?
  /// Since when it is waited for.
  private var waitBegan: MonotonicInstant?
  private var saidAt: MonotonicInstant?
  private var pause = Duration.zero
  /// How often it was started again.
  public private(set) var restarts = 0

  /// A life that has not begun.
  public init(_ rules: LiteFSRules) {
    self.rules = rules
  }

  /// Whether who uses it may run.
  public var isReady: Bool { state == .ready }

  /// Whether nothing of it is there any more.
  public var isFinished: Bool { state == .finished }

  /// Why it is not ready, for people.
  public var reason: String {
    switch state {
    case .idle: "not started"
    case .clearing: "what an earlier LiteFS left mounted is being cleared"
    case .spawning: "starting"
    case .starting, .watching: waiting
    case .ready: "ready"
    case .losingUsers, .ending: "lost (\(mount)); those who used it are being stopped"
    case .pausing: "ended; starting again in \(pause.readable)"
    case .stopping, .sweeping: "stopping"
    case .finished: "stopped"
    }
  }

  private var waiting: String {
    guard mount.isUsable else {
      return mount == .unknown || mount == .absent ? "not mounted yet" : "\(mount)"
    }
    switch role {
    case .unknown: return "mounted; it does not say who is the primary"
    case .none: return "mounted; waiting for \(rules.waitsFor): no primary is known"
    case .primary: return "mounted, the primary"
    case .replica(let name): return "mounted; waiting for the first data from \(name)"
    }
  }

  private var serves: Bool {
    guard mount.isUsable, !rules.isOurs || processRuns else { return false }
    switch role {
    case .primary: return true
    case .replica: return isSynced
    case .none, .unknown: return false
    }
  }

  /// The next step.
  public mutating func handle(_ event: Event, at now: MonotonicInstant) -> [Effect] {
    switch event {
    case .begin: return begin(at: now)
    case .cleared(let failure): return cleared(failure, at: now)
    case .spawned:
      processRuns = true
      guard state == .spawning else { return [] }
      state = .starting
      return look(at: now)
    case .spawnFailed(let text):
      if state == .stopping { return sweep() }
      return state == .spawning ? fail(.settings, text) : []
    case .ended(let status): return ended(status, at: now)
    case .mount(let found): return mounted(found, at: now)
    case .role(let role):
      self.role = role
      return look(at: now)
    case .lag(let lag):
      if case .behind = lag { isSynced = true }
      return look(at: now)
    case .usersStopped: return usersStopped(at: now)
    case .timer: return timer(at: now)
    case .stop: return stop(at: now)
    }
  }

  private mutating func begin(at now: MonotonicInstant) -> [Effect] {
    guard state == .idle else { return [] }
    waitBegan = now
    return start(at: now)
  }

  private mutating func start(at now: MonotonicInstant) -> [Effect] {
    (mount, role, isSynced, wasMounted, hungLooks) = (.unknown, .unknown, false, false, 0)
    guard rules.isOurs else {
      state = .watching
      return wake(at: now)
    }
    state = .clearing
    return wake(at: now) + [.clear(aborts: false)]
  }

  private mutating func cleared(_ failure: String?, at now: MonotonicInstant) -> [Effect] {
    switch state {
    case .clearing:
      if let failure { return fail(.unavailable, failure) }
      state = .spawning
      return [.spawn]
    case .ending where !processRuns:
      return (failure.map { [.note($0, isBad: true)] } ?? []) + pauseBeforeStart(at: now)
    case .sweeping: return (failure.map { [.note($0, isBad: true)] } ?? []) + finish()
    default: return []
    }
  }

  private mutating func fail(_ kind: Failure.Kind, _ text: String) -> [Effect] {
    state = .finished
    return [.unschedule, .failed(Failure(kind: kind, text: text))]
  }

  private mutating func finish() -> [Effect] {
    state = .finished
    return [.unschedule, .finished]
  }
}

// MARK: Ready, and lost

extension LiteFSLife {
  private mutating func mounted(_ found: MountState, at now: MonotonicInstant) -> [Effect] {
    if found == .hung {
      hungLooks += 1
      // A moment's load is no hang.
      guard hungLooks >= rules.looksUntilHung else { return [] }
    } else {
      hungLooks = 0
    }
    mount = found
    if found.isUsable { wasMounted = true }
    return look(at: now)
  }

  /// Something of what makes it ready may have changed.
  private mutating func look(at now: MonotonicInstant) -> [Effect] {
    switch state {
    case .starting, .watching:
      guard serves else { return [] }
      state = .ready
      readySince = now
      waitBegan = nil
      return [.unschedule, .ready]
    case .ready:
      // A primary that is lost is not: what is there can be read. How long it stays ready is health's to say.
      guard !mount.isUsable else { return [] }
      return lose("the mount is lost (\(mount))", at: now)
    default: return []
    }
  }

  private mutating func lose(_ reason: String, at now: MonotonicInstant) -> [Effect] {
    if let readySince, now - readySince >= rules.resetAfter { ends = 0 }
    readySince = nil
    waitBegan = now
    state = .losingUsers
    return [
      .note("LiteFS: \(reason): stopping those who use it", isBad: true), .stopUsers(reason),
      .schedule(now + rules.usersPatience),
    ]
  }

  private mutating func ended(_ status: ExitStatus, at now: MonotonicInstant) -> [Effect] {
    guard processRuns else { return [] }
    processRuns = false
    lastStatus = status
    switch state {
    case .ready: return note(of: status) + lose("it ended (\(status))", at: now)
    case .losingUsers: return note(of: status)
    case .starting:
      if status == .exited(2), !wasMounted {
        return fail(
          .settings,
          "LiteFS does not take its settings, or its command line (exit code 2): see what it wrote before")
      }
      return note(of: status) + pauseBeforeStart(at: now)
    case .ending: return [.clear(aborts: mount == .hung)]
    // It may have found the mount busy, and have left it behind.
    case .stopping: return sweep()
    default: return []
    }
  }

  private mutating func sweep() -> [Effect] {
    state = .sweeping
    return [.unschedule, .clear(aborts: mount == .hung)]
  }

  private func note(of status: ExitStatus) -> [Effect] {
    guard status == .exited(99) else { return [.note("LiteFS ended: \(status)", isBad: true)] }
    return [
      .note(
        "LiteFS ended over its data (exit code 99): what was committed last and had not been copied to another node may "
          + "be lost; see what it wrote before, and whether its disk is full", isBad: true)
    ]
  }

  private mutating func pauseBeforeStart(at now: MonotonicInstant) -> [Effect] {
    state = .pausing
    ends += 1
    pause = min(rules.firstPause * (1 << min(ends - 1, 16)), rules.longestPause)
    if lastStatus == .exited(99) { pause = max(pause, rules.fatalPause) }
    return [
      .note("LiteFS: starting it again in \(pause.readable)", isBad: false), .schedule(now + pause),
    ]
  }

  private mutating func startAgain(at now: MonotonicInstant) -> [Effect] {
    restarts += 1
    return start(at: now)
  }

  private mutating func usersStopped(at now: MonotonicInstant) -> [Effect] {
    guard state == .losingUsers else { return [] }
    return restart(at: now)
  }

  /// Nobody uses it any more, or those who do hang in it.
  private mutating func restart(at now: MonotonicInstant) -> [Effect] {
    guard rules.isOurs else { return [.unschedule] + startAgain(at: now) }
    if processRuns {
      state = .ending
      // It serves no mount: nothing is lost by the short way, and it would not take the long one while it waits.
      return [.unschedule, .end(atOnce: mount == .hung || mount == .dead)]
    }
    return pauseBeforeStart(at: now)
  }

  private mutating func timer(at now: MonotonicInstant) -> [Effect] {
    switch state {
    case .clearing, .starting, .watching: return notice(at: now)
    case .losingUsers:
      return [
        .note("LiteFS: those who use the mount do not end: cutting its connection for them", isBad: true),
        .clear(aborts: true), .schedule(now + rules.usersPatience),
      ]
    case .pausing: return startAgain(at: now)
    default: return []
    }
  }

  /// Says what is waited for, now and then, until the patience ends.
  private mutating func notice(at now: MonotonicInstant) -> [Effect] {
    guard let waitBegan else { return [] }
    let waited = now - waitBegan
    if let patience = rules.patience, waited >= patience {
      let text = "LiteFS is not ready after \(waited.readable): \(reason)"
      guard processRuns else { return fail(.unavailable, text) }
      // Its end is the owner's stop, which comes of this.
      return [.unschedule, .failed(Failure(kind: .unavailable, text: text))]
    }
    return [.note("waiting for LiteFS: \(reason) (for \(waited.readable) now)", isBad: false)] + wake(at: now)
  }

  private func wake(at now: MonotonicInstant) -> [Effect] {
    let next = now + rules.noticeInterval
    guard let waitBegan, let patience = rules.patience else { return [.schedule(next)] }
    return [.schedule(min(next, max(waitBegan + patience, now)))]
  }

  private mutating func stop(at now: MonotonicInstant) -> [Effect] {
    switch state {
    case .stopping, .sweeping, .finished: return []
    case .idle, .watching: return finish()
    case .ready where !rules.isOurs, .losingUsers where !rules.isOurs: return finish()
    case .clearing, .pausing: return sweep()
    case .spawning, .starting, .ready, .losingUsers, .ending:
      guard processRuns || state == .spawning else { return sweep() }
      let wasEnding = state == .ending
      state = .stopping
      return [.unschedule] + (wasEnding ? [] : [.end(atOnce: mount == .hung)])
    }
  }
}
