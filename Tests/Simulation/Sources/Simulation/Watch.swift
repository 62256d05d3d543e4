import Coordination
import EventLoop
import Lifecycle
import Phases
import Processes
import ReleaseRecords

/// The invariants. It sees what really happens, not what the values believe.
final class Watch {
  unowned let world: World
  /// What the records have said, for each run ID.
  private var history: [String: [(time: MonotonicInstant, record: ReleaseRecord, isErrands: Bool)]] = [:]
  /// Steps that are durable as done and must not run again: the hash of their definition.
  private var done: [String: [String: String]] = [:]
  /// Run IDs that were declared ready by hand.
  var declared: Set<String> = []
  private(set) var resumedAt: [ObjectIdentifier: MonotonicInstant] = [:]
  /// What is recorded now was written under a lock that has been lost since.
  var isLate = false
  /// How often what happened: a simulation in which nothing happens proves nothing.
  private(set) var seen: [Sight: Int] = [:]

  /// How long a step may outlive the lock that was lost with the helper: detection and KILL. The takeover delay is
  /// longer, so there is no overlap at all, unless the whole of PID 1 stands still in this time; then the bound counts
  /// from the moment it goes on.
  static let killTime = Duration.seconds(1)

  /// How long it may go on when somebody has removed the lock's file: the next heartbeat is not written, and what runs is
  /// stopped when that stays so.
  static let unlinkedTime = Duration.seconds(5 + 10 + 1 + 5 + 1)

  init(_ world: World) {
    self.world = world
  }

  func resumed(_ life: Life) { resumedAt[ObjectIdentifier(life)] = world.now }

  func isExcused(_ life: Life, _ kind: LockKind) -> Bool {
    guard life.lostAt[kind] != nil else { return false }
    if life.isPaused { return true }
    // With the tables goes the mark of whoever has just lost the lock.
    if let dropped = world.database?.droppedAt, world.now - dropped <= Watch.killTime { return true }
    if world.database != nil, let lost = life.lostAt[kind] {
      let since = couldKnow(life, since: lost)
      if since > lost { return world.now - since <= Watch.killTime }
    }
    return resumedAt[ObjectIdentifier(life)].map { world.now - $0 <= Watch.killTime } ?? false
  }

  /// Somebody has removed the lock file while it protected this one.
  ///
  /// Then nothing keeps others out, nor tells them of it.
  func isForgotten(_ process: SimulatedProcess) -> Bool {
    guard let lock = process.lock else { return false }
    let directory = lock == .node ? world.markerDirectory(process.life.host) : world.stateDirectory
    return directory.vanishedAt.map { $0 >= process.startedAt } ?? false || holdsUnlinked(process.life, lock)
  }

  /// Somebody has removed the lock file while it was held.
  func holdsUnlinked(_ life: Life, _ kind: LockKind) -> Bool { life.unlinkedAt[kind] != nil }

  // MARK: Commands

  func started(_ command: Command) {
    let life = command.life
    guard command.kind != .check else {
      if command.isUpkeepCheck { saw(.upkeepCheck) }
      return
    }
    saw(command.kind == .rollback ? .rollback : command.phase == .node ? .nodeStep : .infrastructureStep)
    for other in world.running
    where other.life !== life && other.kind != .check && other.phase == command.phase {
      // One lock for all run IDs of the infrastructure phase; one for each and each marker directory of the node phase.
      guard command.phase == .infrastructure || other.scope == command.scope else { continue }
      if isExcused(other.life, other.phase) || isExcused(life, command.phase) {
        saw(.excused)
        continue
      }
      if isForgotten(other) || holdsUnlinked(life, command.phase) {
        saw(.unlinked)
        continue
      }
      world.violated("no two at once", "\(command.text) starts while \(other.text) runs")
    }
    startedBeside(command)
    if command.phase == .infrastructure { startedBesideAutoinit(command) }
    switch command.phase {
    case .infrastructure: startedInfrastructure(command)
    case .node: startedNode(command)
    case .leader: break
    }
  }

  private func startedInfrastructure(_ command: Command) {
    let life = command.life
    let runID = life.release.runID.value
    guard life.lostAt[.infrastructure] == nil else { return }
    guard world.holder(of: .infrastructure) === life || holdsUnlinked(life, .infrastructure) else {
      return world.violated("only under the lock", "\(command.text) starts without it")
    }
    let (record, damage) = world.record(of: life.release)
    if life.sawDamage {
      world.violated("damage stops", "\(command.text) starts though the record could not be read")
    }
    // Somebody else's doing, after the claim was written, and others may work under a lock of the same name.
    if damage != nil || world.stateDirectory.hasVanished || world.isTampered(world.recordFile(life.release)) {
      return
    }
    guard let record, record.claim?.owner == life.owner else {
      return world.violated(
        "claimed before begun", "\(command.text) starts under the claim \(claimText(record))")
    }
    guard command.kind == .main else {
      if record.entries.contains(where: { $0.step == command.name }) {
        world.violated("undone before it is undone", "\(command.text) starts while its step is recorded done")
      }
      return
    }
    guard record.claim?.running.contains(where: { $0.step == command.name }) == true else {
      return world.violated(
        "claimed before begun", "\(command.text) starts under the claim \(claimText(record))")
    }
    let step = command.plan.step
    if done[runID]?[step.name] == step.hash {
      startedAgain(command, record)
    } else if life.hasRun {
      saw(.repaired)
    }
    for need in step.needs {
      let hash = life.release.infrastructure.first { $0.step.name == need }?.step.hash ?? ""
      if !record.isDone(need, hash: hash), !(life.hasRun && declared.contains(runID)) {
        world.violated("needs first", "\(command.text) starts though \(need) is not durable as done")
      }
      // Who only declares a step done gives nothing.
      if !command.inputs.contains(need), !declared.contains(runID) {
        world.violated("outputs of needs", "\(command.text) does not get what \(need) gave")
      }
    }
  }

  private func claimText(_ record: ReleaseRecord?) -> String {
    guard let claim = record?.claim else { return "of nobody" }
    return "of \(claim.owner), running \(claim.running.map(\.step))"
  }

  private func startedNode(_ command: Command) {
    guard command.kind == .main, !world.isTampered(world.markerFile(command.life)) else { return }
    for need in command.plan.step.needs
    where !world.store.isApplied(command.scope, need) && !world.isDamaged(command.scope, need)
      && !world.markerMayBeMissing(command.life)
    {
      world.violated("needs first", "\(command.text) starts though \(need) is not done")
    }
    if command.life.hasRun { startedNodeAgain(command) }
  }

  func ended(_ command: Command, isSuccess: Bool) {
    if command.kind == .main, isSuccess { command.life.finishedParts.insert(command.name) }
    if command.kind == .check, !isSuccess { saw(.checkFailed) }
  }

  /// Not what it is recorded to be: it may, and shall, run again.
  func distrusted(_ step: String, by life: Life) {
    life.suspects[.infrastructure, default: []].insert(step)
    done[life.release.runID.value]?[step] = nil
  }

  /// What a lock protects is gone. The bound itself, whether or not somebody overlapped.
  func gone(_ process: SimulatedProcess, _ kind: LockKind) {
    let life = process.life
    if let command = process as? Command, command.kind == .check { return }
    if kind == .infrastructure, let unlinked = life.unlinkedAt[kind], life.isAlive, !life.isPaused,
      resumedAt[ObjectIdentifier(life)] == nil, !world.scenario.hasBadDisk
    {
      saw(.endedUnlinked)
      if world.now - unlinked > Watch.unlinkedTime {
        world.violated(
          "killed in time",
          "\(process.text) ran \((world.now - unlinked).readable) after its lock's file was removed")
      }
    }
    guard let lost = life.lostAt[kind], life.isAlive, !life.isPaused else { return }
    let since = couldKnow(life, since: lost)
    if world.now - since > Watch.killTime {
      world.violated(
        "killed in time", "\(process.text) ran \((world.now - since).readable) after its lock was lost")
    }
  }

  // MARK: Locks

  func lockTaken(_ kind: LockKind, _ path: String, by owner: any HelperOwner) {
    world.trace("\(owner.name) has \(path)")
    // One that was lost before PID 1 knew of it, and that it has now asked for again.
    owner.life?.lostAt[kind] = nil
    owner.life?.unlinkedAt[kind] = nil
    if let life = owner.life { errandBegins(life, kind) }
  }

  func lockReleased(_ kind: LockKind, _ path: String, by owner: any HelperOwner, why: String?) {
    world.trace("\(owner.name) releases \(path): \(why ?? "it vanished")")
    guard why != nil, let life = owner.life else { return }
    // What has left its group is searched for by PID 1 only.
    let left = life.processes.first { $0.lock == kind && (life.isAlive ? !$0.isGone : $0.groupRuns) }
    if let left { world.violated("lock after step", "\(path) is released while \(left.text) is there") }
    if kind == .infrastructure, why == "unlock" { errandEnds(life) }
    if kind == .leader, life.saysRole == .primary {
      world.violated("a primary has the lock", "\(life.name) gives it back and still says that it is one")
    }
  }

  // MARK: The record

  func recorded(_ record: ReleaseRecord, before: ReleaseRecord?, by life: Life, isHolder: Bool) {
    world.trace("\(life.name) record: done \(record.entries.map(\.step)), \(claimText(record))")
    let runID = life.release.runID.value
    if let claim = before?.claim, claim.owner != life.owner, before?.completedAt == nil { saw(.tookOver) }
    if !isHolder, !holdsUnlinked(life, .infrastructure) {
      world.violated("only under the lock", "\(life.name) writes the record without it")
    }
    if record.completedAt != nil, record.failure != nil {
      world.violated("ready or failed", "the record of \(runID) says both")
    }
    let isOldFailure = life.hasRun && record.failure == life.recordAtLock?.failure
    if record.failure != nil, record.failure != before?.failure, !life.stepFailed, !isOldFailure, !isLate {
      world.violated(
        "an interruption is no failure", "\(life.name) records a failure though none of its steps failed")
    }
    // Of a development run ID the word stays while one step is put right: nobody believes what was there before.
    let isOld =
      life.hasRun && life.release.runID.isDevelopment && record.completedAt == life.recordAtLock?.completedAt
    if record.completedAt != nil, !isOld,
      record.completedAt != before?.completedAt || !isReady(before, life)
    {
      if let missing = life.release.infrastructure.first(where: {
        !record.isDone($0.step.name, hash: $0.step.hash) && !wasMissing($0.step, to: life)
      }) {
        world.violated("ready after every step", "\(runID) is ready without \(missing.step.name)")
      }
      let isKept = life.hasRun && record.completedAt == life.recordAtLock?.completedAt
      if life.stepFailed, !isKept {
        world.violated("ready after every step", "\(runID) is ready after a failure")
      }
    }
    if !world.stateDirectory.hasVanished {
      if life.hasRun { errandRecorded(record, before, life) }
      follow(record, before, life)
    }
    history[runID, default: []].append((world.now, record, life.hasRun))
  }

  /// By hand, or by a hand that damages it.
  func changedByHand(_ release: Scenario.Release, _ record: ReleaseRecord?) {
    let runID = release.runID.value
    if record?.declaredBy == nil { done[runID] = nil } else { declared.insert(runID) }
    history[runID, default: []].append((world.now, record ?? ReleaseRecord(runID: runID), false))
  }

  private func isReady(_ record: ReleaseRecord?, _ life: Life) -> Bool {
    guard let record, record.completedAt != nil else { return false }
    return life.release.infrastructure.allSatisfy { record.isDone($0.step.name, hash: $0.step.hash) }
  }

  /// What has come into the ledger, and what has gone from it.
  private func follow(_ record: ReleaseRecord, _ before: ReleaseRecord?, _ life: Life) {
    let runID = life.release.runID.value
    for entry in record.entries where before?.isDone(entry.step, hash: entry.hash) != true {
      if life.sawHearsay {
        declared.insert(runID)
        if !world.store.isApplied(runID, entry.step) { believedHearsay(life, entry.step) }
      }
      // Of a declaration by hand, what has no check to the contrary is believed.
      if !declared.contains(runID), !world.store.isApplied(runID, entry.step),
        !world.isDamaged(runID, entry.step)
      {
        world.violated("done when it is done", "\(life.name) records \(entry.step), which nobody has done")
      }
      done[runID, default: [:]][entry.step] = entry.hash
    }
    for entry in before?.entries ?? [] where !record.isDone(entry.step, hash: entry.hash) {
      let isOther =
        life.release.infrastructure.first { $0.step.name == entry.step }?.step.hash != entry.hash
      let mayForget =
        life.hasRun
        ? mayForget(entry.step, life)
        : life.stepFailed || isLate || life.suspects[.infrastructure]?.isEmpty == false
          || life.stopAskedAt != nil
          || life.release.runID.isDevelopment
      if !mayForget, !isOther {
        world.violated("the ledger forgets nothing", "\(life.name) forgets \(entry.step)")
      }
      if done[runID]?[entry.step] == entry.hash { done[runID]?[entry.step] = nil }
    }
  }

  // MARK: Outcomes

  func ready(_ life: Life, ran: Bool) {
    if ran, life.stepFailed {
      world.violated("ready after every step", "\(life.name) goes on after a failed step")
    }
    if life.release.infrastructure.isEmpty, !world.scenario.onlyWaits[life.node] { return }
    // Who only waits believes Redis, too.
    if life.sawHearsay, world.scenario.onlyWaits[life.node] { return }
    let versions = history[life.release.runID.value] ?? []
    for (index, version) in versions.enumerated().reversed() {
      // Who only waits believes the word of those who run the steps.
      let covers =
        world.scenario.onlyWaits[life.node]
        ? version.record.completedAt != nil : isReady(version.record, life)
      // Who looks after one step has not run all of them since.
      if covers, !life.release.runID.isDevelopment || version.time >= life.beganAt && !version.isErrands {
        return
      }
      // The version before this one was still the present one when the life began.
      if version.time < life.beganAt || index == 0 { break }
    }
    world.violated(
      "ready after every step", "\(life.name) goes on, but \(life.release.runID.value) was not ready")
  }

  func marked(_ life: Life, _ marker: Marker) {
    let scope = world.scope(life, .node)
    guard !world.isTampered(world.markerFile(life)) else { return }
    if life.hasRun {
      errandMarked(life, marker)
      // Another node may have run all of them since, and failed: nobody believes its marker.
      if life.release.runID.isDevelopment { return }
    }
    for plan in life.release.node
    where !marker.failedSteps.contains(plan.step.name) && !world.isDamaged(scope, plan.step.name) {
      if !world.store.isApplied(scope, plan.step.name) {
        world.violated(
          "marker after every step", "\(life.name) marks \(plan.step.name) done, which it is not")
      }
    }
  }

  func appStarted(_ life: Life) {
    saw(.appStarted)
    if !life.release.node.isEmpty, world.markerFile(life).bytes == nil, !world.markerMayBeMissing(life) {
      world.violated("marker before app", "\(life.name) starts its app without a marker")
    }
    if let command = life.processes.first(where: { $0 is Command }) {
      world.violated("app after steps", "\(command.text) still runs")
    }
  }

  func exited(_ life: Life, _ ending: Lifecycle.Ending, afterApp: Bool) {
    saw(life.wasInterrupted ? .stopped : .failed)
    if ending.reason.isEmpty || ending.text.isEmpty {
      world.violated("an exit has a reason", "\(life.name) exits with \(ending)")
    }
    // A stop that does not come to its end leaves without waiting for those whom it kills last.
    let isCutShort = life.stopAskedAt.map { world.now - $0 >= life.plan.stopTimeout + .seconds(4) } ?? false
    if let left = life.processes.first(where: { isCutShort ? !$0.isEnding : !$0.isGone }) {
      world.violated(
        "nobody is left behind", "\(life.name) exits (\(ending.reason)) while \(left.text) is there")
    }
    if life.saysRole == .primary {
      world.violated("a primary has the lock", "\(life.name) exits and still says that it is one")
    }
    if ending.reason == "phases_complete", life.plan.scope != .infrastructure, !life.release.node.isEmpty,
      world.markerFile(life).bytes == nil, !world.markerMayBeMissing(life)
    {
      world.violated("marker before success", "\(life.name) succeeds without a marker")
    }
    if afterApp { stoppedByUpkeep(life, ending) }
    if world.scenario.isHealthy, !afterApp, ending.code != 0, !life.wasInterrupted {
      world.violated("a healthy fleet starts", "\(life.name) exits: \(ending)")
    }
  }

  func saw(_ sight: Sight) { seen[sight, default: 0] += 1 }
}
