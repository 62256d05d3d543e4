import EventLoop
import ReleaseRecords

/// Somebody who types `supervisor ready set` or `ready clear` on a node.
final class Hand: HelperOwner {
  private unowned let world: World
  private let node: Int
  private let release: Scenario.Release
  private let isSet: Bool
  private var helper: FileHelper?
  private var isOver = false
  private var ended: () -> Void = {}
  /// How long it waits for the lock.
  private static let patience = Duration.seconds(20)

  init(world: World, node: Int, release: Scenario.Release, isSet: Bool) {
    self.world = world
    self.node = node
    self.release = release
    self.isSet = isSet
  }

  var name: String { "ready \(isSet ? "set" : "clear") on node-\(node)" }

  func deliver(at time: MonotonicInstant, _ action: @escaping () -> Void) { world.at(time, action) }

  func begin(_ ended: @escaping () -> Void) {
    self.ended = ended
    let helper = FileHelper(
      world: world, owner: self, name: "ready helper", directory: world.stateDirectory)
    self.helper = helper
    var hasLock = false
    helper.lock(
      World.infrastructureLockName, .infrastructure, owner: name, busy: { _ in },
      failed: { [self] _ in end() },
      taken: { [self] _ in
        hasLock = true
        change(helper)
      })
    world.after(Hand.patience) { [self] in
      if hasLock || isOver { return }
      world.watch.saw(.handGaveUp)
      end()
    }
  }

  private func change(_ helper: FileHelper) {
    helper.request(failed: { [self] _ in end() }) { [self] in
      if helper.problem(.read) == nil, helper.problem(.write) == nil { changeRecord(helper) }
      return { [self] in helper.unlock { [self] in end() } }
    }
  }

  private func changeRecord(_ helper: FileHelper) {
    let file = world.recordFile(release)
    let (found, damage) = world.decode(file, release)
    // What cannot be read is left to whoever looks into it.
    guard damage == nil, helper.nameLocks(hasRoom: true) else { return }
    if isSet {
      var record = found ?? ReleaseRecord(runID: release.runID.value)
      guard record.completedAt == nil else { return }
      record.completedAt = world.wallClock(of: node)
      record.declaredBy = name
      record.failure = nil
      file.replace(record.encoded())
      world.watch.saw(.declared)
      world.watch.changedByHand(release, record)
    } else {
      guard found != nil else { return }
      file.remove()
      world.watch.saw(.cleared)
      world.watch.changedByHand(release, nil)
    }
    world.trace("\(name): done")
    world.tellWatchers(of: file)
  }

  private func end() {
    guard !isOver else { return }
    isOver = true
    helper?.close()
    ended()
  }
}
