import Phases
import ReleaseRecords

/// A mistake that is built in on purpose, to see that the invariants find it.
enum PlantedBug: String, CaseIterable, Sendable {
  /// A step starts before the claim that names it is durable.
  case earlyStart = "early-start"
  /// What a look from before the lock found is taken for the look inside.
  case staleLook = "stale-look"
  /// The lock is released while a command is still being stopped.
  case earlyRelease = "early-release"
  /// Who gives the lock back before the takeover delay is over leaves no trace of the one that vanished.
  case forgottenHolder = "forgotten-holder"
  /// The lock of one who vanished is taken as if it had been given back.
  case noTakeover = "no-takeover-delay"
  /// The leader lock is released while the service that it protects is still being stopped.
  case earlyLeaderRelease = "early-leader-release"
  /// The same mistake as `noTakeover`, with the leader lock.
  case noLeaderTakeover = "no-leader-takeover-delay"
  /// Who loses the leader lock does not hear of it.
  case keptRole = "kept-role"
  /// A process counts as gone with the leader of its group.
  case forgottenWorkers = "forgotten-workers"
  /// Nobody looks for what has left its group.
  case forgottenStrays = "forgotten-strays"
  /// A record that cannot be read is taken for none.
  case damagedRecord = "damaged-record"
  /// Who repeats a step does not look under the lock whether another has done so.
  case blindErrand = "blind-errand"
  /// The lock of an errand is released when its step has begun.
  case earlyErrandRelease = "early-errand-release"
  /// A step is not recorded done while it is repeated.
  case forgetfulRepetition = "forgetful-repetition"
  /// A step that has put something right leaves the release as it is, not ready.
  case unreadyRepair = "unready-repair"
  /// A step is not told which parts of it are done.
  case forgottenParts = "forgotten-parts"

  // Of lock and record in servers.
  /// The agent gives the lock back before what it guards has ended.
  case earlyAgentRelease = "early-agent-release"
  /// An agent that hangs is killed, and its lock with it, before what runs under that has ended.
  case hastyKill = "hasty-kill"
  /// Who takes over does not look for what goes on in the server.
  case blindTakeover = "blind-takeover"
  /// Nobody is told that a lock is lost.
  case untoldLoss = "untold-loss"
  /// What Redis says is believed without a look at the checks.
  case believedHearsay = "believed-hearsay"
  /// The shared form of the lock is not given back.
  case sharedKept = "shared-kept"
  /// A step that failed is tried again without a look at what goes on in the server.
  case forgottenRemains = "forgotten-remains"

  /// Whether it is one of the part of the product that talks to servers.
  var needsDatabase: Bool {
    switch self {
    case .earlyAgentRelease, .hastyKill, .blindTakeover, .untoldLoss, .believedHearsay,
      .sharedKept, .forgottenRemains:
      true
    default: false
    }
  }
}

/// How a planted bug shows in one life: between the values and those who carry out their effects, so that the values
/// stay what they are.
struct Sabotage {
  var bug: PlantedBug?
  private var lastSeen: ReleaseRecord??
  private var looksInside = false

  init(_ bug: PlantedBug? = nil) {
    self.bug = bug
  }

  var answersBeforeDurable: Bool { bug == .earlyStart }
  var releasesEarly: Bool { bug == .earlyRelease }
  var skipsTakeover: Bool { bug == .noTakeover }
  var releasesLeaderEarly: Bool { bug == .earlyLeaderRelease }
  var skipsLeaderTakeover: Bool { bug == .noLeaderTakeover }
  var keepsRole: Bool { bug == .keptRole }
  var forgetsWorkers: Bool { bug == .forgottenWorkers }
  var forgetsStrays: Bool { bug == .forgottenStrays }
  var ignoresDamage: Bool { bug == .damagedRecord }

  /// The event as the value gets to see it.
  mutating func changed(
    _ event: InfrastructurePhase.Event, _ steps: [PhaseStep]
  ) -> InfrastructurePhase.Event {
    if bug == .believedHearsay, case .record(var found?) = event, found.isHearsay {
      found.isHearsay = false
      found.entries = steps.map { ReleaseRecord.Entry(step: $0.name, hash: $0.hash, doneAt: 1) }
      return .record(found)
    }
    guard case .lockHeld = event else { return event }
    looksInside = true
    return skipsTakeover ? .lockHeld(leftBy: "") : event
  }

  func releasesErrandEarly(_ command: Command) -> Bool {
    bug == .earlyErrandRelease && command.kind == .main && command.phase == .infrastructure
      && command.life.hasRun
  }

  /// The record as it is written.
  func changed(_ record: ReleaseRecord, by life: Life) -> ReleaseRecord {
    guard life.hasRun else { return record }
    var record = record
    if bug == .forgetfulRepetition {
      record.entries.removeAll { entry in
        record.claim?.running.contains { $0.step == entry.step } == true
      }
    }
    if bug == .unreadyRepair, life.suspects[.infrastructure]?.isEmpty == false { record.completedAt = nil }
    return record
  }

  /// What a command is told.
  func changed(_ inputs: [StepOutput]) -> [StepOutput] {
    bug == .forgottenParts ? inputs.filter { $0.key != "SUPERVISOR_DONE" } : inputs
  }

  mutating func seen(_ record: ReleaseRecord?) { lastSeen = .some(record) }

  /// The answer to a read that is made under the lock, without reading.
  mutating func staleAnswer(toErrand isErrand: Bool) -> ReleaseRecord?? {
    guard bug == .staleLook || bug == .blindErrand && isErrand, looksInside else { return nil }
    looksInside = false
    return lastSeen
  }
}
