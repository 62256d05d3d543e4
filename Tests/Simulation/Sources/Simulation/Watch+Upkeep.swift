import Coordination
import EventLoop
import Lifecycle
import Phases
import ReleaseRecords

// What must hold of what is done about single steps while the app runs, and of the parts of steps.
extension Watch {
  // MARK: Errands

  /// What was found before the lock is of yesterday.
  func errandBegins(_ life: Life, _ kind: LockKind) {
    guard life.hasRun, kind != .leader else { return }
    saw(.errand)
    life.suspects[kind] = []
    guard kind == .infrastructure else { return }
    life.stepFailed = false
    life.finishedParts = []
    life.recordAtLock = world.record(of: life.release).0
  }

  /// A step that is recorded done starts: only since it is to be repeated.
  func startedAgain(_ command: Command, _ record: ReleaseRecord) {
    let (life, step) = (command.life, command.plan.step)
    if life.release.runID.isDevelopment, !life.hasRun { return }
    guard life.hasRun, let interval = step.repeatsAfter else {
      return world.violated("never again once done", "\(command.text) starts though it is durable as done")
    }
    saw(.repeated)
    let leads = world.holder(of: .leader) === life || holdsUnlinked(life, .leader)
    // Until it hears of a loss it may still begin something.
    if !leads, life.lostAt[.leader] == nil {
      world.violated("only the primary repeats", "\(command.text) starts again without the leader lock")
    }
    let doneAt = record.entries.first { $0.step == step.name && $0.hash == step.hash }?.doneAt
    checkAge(of: command, doneAt, interval)
  }

  private func checkAge(of command: Command, _ doneAt: UInt64?, _ interval: Duration) {
    guard let doneAt, !world.scenario.setsClocks else { return }
    // Where clocks differ by more than the interval, a time too far ahead is no time, until it is none ahead any more.
    let skew = world.scenario.clockSkew
    if let low = skew.min(), let high = skew.max(), high - low > interval { return }
    let wall = world.wallClock(of: command.life.node)
    let age = Duration.nanoseconds(Int64(wall) - Int64(doneAt))
    // One that lies ahead of this clock may have been too far ahead when it was looked at.
    if age < interval, age >= .zero {
      world.violated(
        "not before it is due",
        "\(command.text) starts again after \(age.readable), not after \(interval.readable)")
    }
  }

  func startedNodeAgain(_ command: Command) {
    let (life, step) = (command.life, command.plan.step)
    if life.suspects[.node]?.contains(step.name) == true { return saw(.nodeRepaired) }
    guard let bytes = world.markerFile(life).bytes else { return }
    let marker = Marker(decoding: bytes)
    guard let interval = step.repeatsAfter else {
      // An errand is for what has a check, or an interval, that was not kept.
      return world.violated("never again once done", "\(command.text) starts though the marker covers it")
    }
    saw(.nodeRepeated)
    checkAge(of: command, marker.doneAt[step.name], interval)
  }

  /// While the app runs a record goes only when a check has failed under the lock, or with what that step's repair, or
  /// a repetition that undoes itself, took back.
  func mayForget(_ step: String, _ life: Life) -> Bool {
    let suspects = life.suspects[.infrastructure] ?? []
    return suspects.contains(step) || life.stepFailed && (!suspects.isEmpty || undoesItself(life))
  }

  private func undoesItself(_ life: Life) -> Bool {
    life.release.infrastructure.contains {
      $0.step.repeatsAfter != nil && $0.step.hasRollback && $0.step.rollsBackWhenFailed
    }
  }

  func errandRecorded(_ record: ReleaseRecord, _ before: ReleaseRecord?, _ life: Life) {
    let suspects = life.suspects[.infrastructure] ?? []
    if before?.completedAt != nil, record.completedAt == nil, suspects.isEmpty,
      !(life.stepFailed && undoesItself(life))
    {
      world.violated("a repetition takes nothing away", "\(life.name) makes the release not ready")
    }
    if let failure = record.failure, failure != before?.failure, failure != life.recordAtLock?.failure,
      suspects.isEmpty, !(life.stepFailed && undoesItself(life))
    {
      world.violated(
        "a repetition takes nothing away", "\(life.name) records that \(failure.step) has failed")
    }
  }

  /// Whether this step, by somebody's word, or by another definition of it, is not done in a release that is ready.
  func wasMissing(_ step: PhaseStep, to life: Life) -> Bool {
    guard life.hasRun, let record = life.recordAtLock, record.completedAt != nil else { return false }
    return !record.isDone(step.name, hash: step.hash)
  }

  func errandMarked(_ life: Life, _ marker: Marker) {
    let before = world.markerFile(life).bytes.map { Marker(decoding: $0).failedSteps } ?? []
    let suspects = life.suspects[.node] ?? []
    for step in marker.failedSteps where !before.contains(step) && !suspects.contains(step) {
      world.violated("a repetition takes nothing away", "\(life.name) marks \(step) as failed")
    }
  }

  /// It gives the lock back, in order.
  func errandEnds(_ life: Life) {
    guard life.hasRun, life.recordAtLock?.completedAt != nil, !life.stepFailed, life.stopAskedAt == nil,
      !world.scenario.hasBadStore, !world.isTampered(world.recordFile(life.release))
    else { return }
    let (record, _) = world.record(of: life.release)
    if let record, record.completedAt == nil {
      world.violated("a repair restores readiness", "\(life.name) leaves the release not ready")
    }
  }

  /// Whatever becomes of it, the app goes on.
  func stoppedByUpkeep(_ life: Life, _ ending: Lifecycle.Ending) {
    let phaseEndings: Set<String> = [
      "infrastructure_failed", "node_failed", "lock_timeout", "readiness_timeout", "node_lock_timeout",
      "lock_lost",
      "state_unusable", "state_not_permitted", "marker_unusable", "marker_not_permitted",
    ]
    if phaseEndings.contains(ending.reason) {
      world.violated("upkeep ends nothing", "\(life.name) exits: \(ending)")
    }
  }

  // MARK: Parts

  /// A part of a step's work begins.
  func began(_ part: String, of command: Command) {
    saw(.part)
    let life = command.life
    guard life.lostAt[.infrastructure] == nil, !holdsUnlinked(life, .infrastructure),
      !world.stateDirectory.hasVanished, !world.isTampered(world.recordFile(life.release)),
      !life.release.runID.isDevelopment, !life.finishedParts.contains(command.name)
    else { return }
    let (record, _) = world.record(of: life.release)
    let known = record?.parts(of: command.name, hash: command.plan.step.hash) ?? []
    if known.contains(part) {
      world.violated("no part again", "\(command.text) does \(part), which is recorded done")
    }
  }
}
