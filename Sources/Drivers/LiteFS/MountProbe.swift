import AgentProtocol
import Blocking
import NIOConcurrencyHelpers
import NIOCore

/// Looks at a mount point without ever waiting for it: at most one look is under way, on a thread of its own, and
/// while it does not come back whoever asks is told for how long. Used on its event loop only.
public final class MountProbe {
  private let eventLoop: any EventLoop
  private let place: LiteFSPlace
  private let looks: BlockingWork<MountLook>
  private let disks: BlockingWork<UInt64?>
  /// Since when a look has been under way.
  private var lookingSince: NIODeadline?
  /// Since when the free space has been asked for.
  private var measuringSince: NIODeadline?
  private var freeSpace: UInt64?
  private var idleWaiters: [() -> Void] = []
  private var round: Round?

  /// The answer that is owed to whoever asked.
  private final class Round {
    var completion: ((MountLook) -> Void)?
    var found: MountLook?
  }

  /// How long a look may take before it counts as one that hangs.
  public static let patience = TimeAmount.milliseconds(600)

  /// A probe of a place.
  public init(eventLoop: any EventLoop, place: LiteFSPlace) {
    self.eventLoop = eventLoop
    self.place = place
    looks = BlockingWork(eventLoop: eventLoop)
    disks = BlockingWork(eventLoop: eventLoop)
  }

  /// Looks, and calls back once: when the look has come back, or has been under way for longer than the patience is.
  /// Whoever asks while another one waits takes that one's place.
  public func look(_ completion: @escaping (MountLook) -> Void) {
    let round = Round()
    round.completion = completion
    self.round = round
    let look = startLook()
    startMeasuring(look)
    finishWhenComplete(round)
  }

  /// Calls back when no look is under way, and nothing of ours is in the mount: perhaps never.
  public func whenIdle(_ completion: @escaping () -> Void) {
    if lookingSince == nil { completion() } else { idleWaiters.append(completion) }
  }

  /// What is opened when the look comes back; nil when one is under way already.
  private func startLook() -> ConditionLock<Bool>? {
    guard lookingSince == nil else { return nil }
    lookingSince = .now()
    let isBack = ConditionLock(value: false)
    let work = looks.run("mount") { [place] in
      let look = MountLook.look(place)
      isBack.lock()
      isBack.unlock(withValue: true)
      return look
    }
    work.assumeIsolated().whenComplete { [self] result in
      lookingSince = nil
      defer {
        let waiters = idleWaiters
        idleWaiters = []
        for waiter in waiters { waiter() }
      }
      // Who asked last gets what came, also when it was begun for another one.
      guard let round else { return }
      switch result {
      case .success(let look): round.found = look
      case .failure(let error):
        round.found = MountLook(failure: (error as? BlockingWork<MountLook>.Refusal)?.reason ?? "\(error)")
      }
      finishWhenComplete(round)
    }
    return isBack
  }

  /// The thread that does this also waits until the look is back, or the patience is over: a timer of the loop would
  /// wake it when its time has come, even if it was cancelled long before.
  private func startMeasuring(_ isBack: ConditionLock<Bool>?) {
    guard measuringSince == nil else { return }
    measuringSince = .now()
    let patience = Double(Self.patience.nanoseconds) / 1e9
    let work = disks.run("disk") { [place] in
      let space = MountLook.freeSpace(place.dataPath)
      if let isBack, isBack.lock(whenValue: true, timeoutSeconds: patience) { isBack.unlock() }
      return space
    }
    work.assumeIsolated().whenComplete { [self] result in
      measuringSince = nil
      freeSpace = (try? result.get()) ?? nil
      if let round { finishWhenComplete(round) }
    }
  }

  /// Calls back when both have come, or hang since before.
  private func finishWhenComplete(_ round: Round) {
    guard round.found != nil || isLate(lookingSince), measuringSince == nil || isLate(measuringSince) else {
      return
    }
    finish(round)
  }

  private func isLate(_ since: NIODeadline?) -> Bool { since.map { .now() - $0 >= Self.patience } ?? false }

  private func finish(_ round: Round) {
    guard let completion = round.completion else { return }
    round.completion = nil
    if self.round === round { self.round = nil }
    var look = round.found ?? hung
    // What was free before the disk hung is not known to be so.
    look.mount.freeSpace = measuringSince == nil ? freeSpace : nil
    completion(look)
  }

  private var hung: MountLook {
    var look = MountLook(failure: "no answer from it")
    look.mount.state = .hung
    if let lookingSince { look.mount.hungFor = Duration(.now() - lookingSince) }
    return look
  }
}

extension MountLook {
  fileprivate init(failure: String) {
    mount = LiteFSMount(.failed, text: failure)
  }
}
