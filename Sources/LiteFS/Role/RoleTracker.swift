import EventLoop

/// Tells this node's role from what LiteFS says about it.
///
/// LiteFS names a primary while it tries to reach it, and takes the name back when that fails: once in each reconnect
/// delay while the lease of a dead primary has not run out. So a name counts only when it stays, and its absence only
/// when it lasts. A node that has just handed its lease over names itself as somebody else's primary for a second.
/// Being the primary, and being it no more, is believed at once: the first because LiteFS writes or does not, the second
/// because another may be one at any moment.
///
/// LiteFS keeps the role while its lease store accepts connections and does not answer, for longer than the lease lives.
/// This does not: whoever has not heard from the store for that long counts as not the primary.
public struct RoleTracker: Sendable {
  /// What happens.
  public enum Event: Sendable, Equatable {
    /// An answer to `GET /info`, which was asked for at this time.
    case info(LiteFSInfo, askedAt: MonotonicInstant)
    /// A line of `GET /events`.
    case event(LiteFSEvent)
    /// The stream of events has ended, or cannot be opened.
    case streamEnded
    /// A request got no answer.
    case failed
    /// What `.lag` says: the only sign that a named primary is really heard.
    case lag(Lag)
    /// The lease store answered: the name of who holds the lease, nil when nobody does.
    case lease(holder: String?)
    /// LiteFS is not running.
    case stopped
    /// The time of the last `schedule` has come.
    case timer
  }

  /// What is to be done.
  public enum Effect: Sendable, Equatable {
    /// The role from now on, and why.
    case role(LiteFSRole, reason: String)
    /// Feed `timer` at this time; replaces an earlier wish.
    case schedule(MonotonicInstant)
    /// No timer is wanted any more.
    case unschedule
  }

  /// How long things must last.
  public struct Rules: Sendable, Equatable {
    /// This node's name, as it stands in the lease.
    public var nodeName: String
    /// LiteFS's pause between tries.
    public var reconnectDelay = Duration.seconds(1)
    /// Life of the lease; nil where it is static, and no store can fall silent.
    public var leaseTime: Duration?
    /// A name that stays for this long is a primary that was reached: connections that are refused fail in less.
    public var hold = Duration.milliseconds(300)
    /// The same where no stream says each change, and looks are all there is.
    public var holdWithoutStream = Duration.milliseconds(2500)
    /// After this long without any word the role is unknown.
    public var silence = Duration.seconds(3)

    /// Rules of a node.
    public init(nodeName: String, reconnectDelay: Duration = .seconds(1), leaseTime: Duration? = nil) {
      self.nodeName = nodeName
      self.reconnectDelay = reconnectDelay
      self.leaseTime = leaseTime
    }

    /// No primary for this long is none: one try to connect may pass in it.
    var absence: Duration { reconnectDelay + .milliseconds(450) }
  }

  /// The role that was last reported.
  public private(set) var role = LiteFSRole.unknown
  /// Whether LiteFS says that this node is the primary, while the lease does not.
  public var isFenced: Bool { fence != nil }

  private let rules: Rules
  /// What LiteFS says at this moment; nil when it says nothing.
  private var said: Said?
  /// When anything was last heard of LiteFS.
  private var heardAt: MonotonicInstant?
  /// When the stream last said who the primary is: older answers to questions do not count.
  private var changedAt: MonotonicInstant?
  private var hasStream = false
  /// A primary that was reached, and is named still.
  private var reached: String?
  /// Since when nobody has been reached, though LiteFS speaks.
  private var aloneSince: MonotonicInstant?
  /// Whether there was a sign that the named primary is heard, other than that it was named for long.
  private var wasHeard = false
  private var hasLag = false
  private var lastLag: (time: Duration, at: MonotonicInstant)?
  /// How long a name must stay now: longer after each one that did not.
  private var hold: Duration
  private var fence: String?
  /// When the lease store last answered, since LiteFS has said that this node is the primary.
  private var leaseAt: MonotonicInstant?
  /// Since when the store has named another holder than this node, the primary.
  private var otherHolderSince: MonotonicInstant?
  private var deadline: MonotonicInstant?

  private enum Said: Equatable {
    case primary
    /// With a name, since when it has been named, and when it was last.
    case named(String, since: MonotonicInstant, lastly: MonotonicInstant)
    case nobody
  }

  /// A name that was dropped after a shorter time was a try that failed slowly, not a connection that broke.
  private static let longestTry = Duration.seconds(150)
  private static let longestHold = Duration.seconds(60)
  /// A store that names another holder at two looks this far apart means it: a hand-off takes less.
  private static let contradiction = Duration.seconds(1)

  /// A tracker that knows nothing yet.
  public init(_ rules: Rules) {
    self.rules = rules
    hold = rules.hold
  }

  /// The next step.
  public mutating func handle(_ event: Event, at now: MonotonicInstant) -> [Effect] {
    switch event {
    case .info(let info, let askedAt):
      heardAt = now
      // What it says was true before the change that the stream told since.
      if let changedAt, askedAt < changedAt { break }
      hear(isPrimary: info.isPrimary, info.primary, at: now)
    case .event(.role(let isPrimary, let primary)):
      heardAt = now
      changedAt = now
      hasStream = true
      hear(isPrimary: isPrimary, primary, at: now)
    case .event(.transaction):
      heardAt = now
      hasStream = true
      // On a replica it has come from the primary.
      reach(at: now)
    case .event(.other): heardAt = now
    case .streamEnded: hasStream = false
    case .failed, .timer: break
    case .lag(let lag): hear(lag, at: now)
    case .lease(let holder): hearLease(holder, at: now)
    case .stopped: forget()
    }
    return judge(at: now)
  }

  // MARK: What LiteFS says

  private mutating func hear(isPrimary: Bool, _ primary: String?, at now: MonotonicInstant) {
    if isPrimary {
      if said != .primary {
        leaseAt = now
        otherHolderSince = nil
      }
      said = .primary
      reached = nil
      aloneSince = nil
      return
    }
    if said == .primary || aloneSince == nil, reached == nil { aloneSince = now }
    // LiteFS has said it: then the lease has nothing to add.
    fence = nil
    // It names itself for a moment after a hand-off.
    guard let primary, primary != rules.nodeName else { return dropName(at: now, said: .nobody) }
    if case .named(primary, let since, _)? = said {
      said = .named(primary, since: since, lastly: now)
    } else {
      dropName(at: now, said: .named(primary, since: now, lastly: now))
    }
  }

  /// The lag grows with the time unless something comes; so the primary's clock, which it is counted by, does not matter.
  private mutating func hear(_ lag: Lag, at now: MonotonicInstant) {
    hasLag = true
    defer { lastLag = if case .behind(let time) = lag { (time, now) } else { nil } }
    guard case .behind(let time) = lag, let lastLag, case .named(_, let since, _)? = said, lastLag.at >= since
    else { return }
    if time + .milliseconds(200) < lastLag.time + (now - lastLag.at) { reach(at: now) }
  }

  private mutating func dropName(at now: MonotonicInstant, said next: Said) {
    if case .named(let name, let since, _)? = said {
      if reached == name {
        reached = nil
        aloneSince = now
      }
      // The lag would have shown that the primary is heard: so this was a try that took so long to fail.
      if hasLag, !wasHeard, now - since < Self.longestTry {
        hold = max(hold, min((now - since) * 2, Self.longestHold))
      }
    }
    wasHeard = false
    said = next
  }

  private mutating func reach(at now: MonotonicInstant) {
    guard case .named(let name, _, _)? = said else { return }
    reached = name
    aloneSince = nil
    wasHeard = true
    hold = rules.hold
  }

  private mutating func forget() {
    said = nil
    heardAt = nil
    changedAt = nil
    hasStream = false
    reached = nil
    aloneSince = nil
    wasHeard = false
    hasLag = false
    lastLag = nil
    hold = rules.hold
    fence = nil
    leaseAt = nil
    otherHolderSince = nil
  }

  // MARK: What the lease says

  private mutating func hearLease(_ holder: String?, at now: MonotonicInstant) {
    leaseAt = now
    if holder == rules.nodeName {
      otherHolderSince = nil
      // The store has the last word on who has the lease.
      fence = nil
    } else if said == .primary {
      let since = otherHolderSince ?? now
      otherHolderSince = since
      if now - since >= Self.contradiction {
        fence = holder.map { "the lease is held by \($0)" } ?? "nobody holds the lease"
      }
    }
  }

  // MARK: Judging

  private mutating func judge(at now: MonotonicInstant) -> [Effect] {
    var wakeAt: [MonotonicInstant] = []
    let (next, reason) = verdict(at: now, &wakeAt)
    var effects: [Effect] = []
    if next != role {
      role = next
      effects.append(.role(next, reason: reason))
    }
    let earliest = wakeAt.filter { $0 > now }.min()
    if earliest != deadline {
      deadline = earliest
      effects.append(earliest.map { .schedule($0) } ?? .unschedule)
    }
    return effects
  }

  private mutating func verdict(
    at now: MonotonicInstant, _ wakeAt: inout [MonotonicInstant]
  ) -> (LiteFSRole, String) {
    guard let heardAt, let said else { return (.unknown, "LiteFS does not answer") }
    if now - heardAt >= rules.silence {
      // What was named may have changed since: it counts from the next word on.
      self.said = nil
      reached = nil
      aloneSince = nil
      return (.unknown, "nothing was heard of LiteFS for \(rules.silence.readable)")
    }
    wakeAt.append(heardAt + rules.silence)
    switch said {
    case .primary: return primaryVerdict(at: now, &wakeAt)
    case .named(let name, let since, let lastly):
      settle(name, since: since, lastly: lastly, at: now, &wakeAt)
    case .nobody: break
    }
    if let reached { return (.replica(of: reached), "connected to \(reached)") }
    guard role != .primary else { return (.none, "LiteFS is not the primary any more") }
    guard let aloneSince else { return (role, "") }
    var patience = rules.absence
    // It may just be reaching one.
    if case .named = said { patience += hasStream ? rules.hold : rules.holdWithoutStream }
    guard now - aloneSince >= patience else {
      wakeAt.append(aloneSince + patience)
      return (role, "")
    }
    return (.none, "LiteFS has reached no primary for \(rules.absence.readable)")
  }

  private mutating func primaryVerdict(
    at now: MonotonicInstant, _ wakeAt: inout [MonotonicInstant]
  ) -> (LiteFSRole, String) {
    if let leaseTime = rules.leaseTime, let leaseAt {
      if now - leaseAt >= leaseTime {
        fence = "the lease store has not answered for \(leaseTime.readable), as long as the lease lives"
      } else {
        wakeAt.append(leaseAt + leaseTime)
      }
    }
    if let fence { return (.none, "LiteFS says that this node is the primary, but \(fence)") }
    return (.primary, "LiteFS says that this node is the primary")
  }

  /// A name that has stayed long enough is a primary that was reached.
  private mutating func settle(
    _ name: String, since: MonotonicInstant, lastly: MonotonicInstant, at now: MonotonicInstant,
    _ wakeAt: inout [MonotonicInstant]
  ) {
    guard reached != name else { return }
    let wanted = hasStream ? hold : max(hold, rules.holdWithoutStream)
    // With the stream no news is the same name still; without it only another look says so.
    let until = hasStream ? now : lastly
    if until - since >= wanted {
      reached = name
      aloneSince = nil
    } else if hasStream {
      wakeAt.append(since + wanted)
    }
  }
}
