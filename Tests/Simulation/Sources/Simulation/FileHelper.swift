import EventLoop

/// Whom a file helper works for.
protocol HelperOwner: AnyObject {
  var name: String { get }
  func deliver(at time: MonotonicInstant, _ action: @escaping () -> Void)
}

extension HelperOwner {
  var life: Life? { self as? Life }
}

/// The process that touches files for a node: requests one after the other, each with its answer, and locks that are
/// its own. What it does when it is closed, hangs, is killed or loses PID 1 is what `Processes.FileHelper` and
/// `clinux_file_helper_main` do.
final class FileHelper {
  /// Carried out at the store; returns what PID 1 is told.
  typealias Work = () -> () -> Void

  private struct Request {
    let work: Work
    let latency: Duration
    let number: Int
  }

  private unowned let world: World
  unowned let owner: any HelperOwner
  let name: String
  /// What its files are in; it makes that first.
  let directory: Directory
  private var hasMadeDirectory = false
  /// The process.
  private(set) var isAlive = true
  /// PID 1's end of the socket is closed; nothing is answered any more.
  private(set) var isClosed = false
  /// PID 1 has vanished: what is under way and asked for is done, then the groups are ended.
  private var isOrphan = false
  private var isClosedByUs = false
  private(set) var held: [LockFile] = []
  /// The name of a holder that vanished before us, and until when what it ran may take to end: until then the lock file
  /// must go on to say so, for those after us.
  private var left: (name: String, until: MonotonicInstant)?
  /// Names us in a lock file that had no room for it: before the next write, which else fails.
  private var unnamed: (() -> Void)?
  private var mustName = false
  private var heldAsTold = 0
  private var waitsFor: LockFile?
  private var queue: [Request] = []
  private var isBusy = false
  private var lastReply = MonotonicInstant(nanoseconds: 0)
  private var requests = 0
  /// Not answered yet: what PID 1 is told when no answer will come.
  private var pending: [(number: Int, failed: (String) -> Void)] = []
  /// Whose groups are to be ended before the lock goes.
  var guarded: [SimulatedProcess] = []
  var onLost: () -> Void = {}

  static let patience = Duration.seconds(10)

  init(world: World, owner: any HelperOwner, name: String, directory: Directory) {
    self.world = world
    self.owner = owner
    self.name = name
    self.directory = directory
  }

  /// Whether its process is gone.
  var hasEnded: Bool { !isAlive }

  // MARK: Requests

  func request(failed: @escaping (String) -> Void, _ work: @escaping Work) {
    requests += 1
    let number = requests
    guard !isClosed else {
      owner.deliver(at: world.now) { failed("the helper process has ended") }
      return
    }
    pending.append((number, failed))
    enqueue(Request(work: work, latency: world.latency(), number: number))
    waitForAnswer(number)
  }

  private func waitForAnswer(_ number: Int) {
    owner.deliver(at: world.now + FileHelper.patience) { [self] in
      guard !isClosed, pending.contains(where: { $0.number == number }) else { return }
      if !guarded.isEmpty { return waitForAnswer(number) }
      world.trace("\(owner.name): \(name) does not answer")
      world.watch.saw(.hung)
      if heldAsTold == 0, held.isEmpty { isAlive = false }
      failAll("no answer from the file system: it hangs")
    }
  }

  /// Takes a lock without limit: `busy` at most once, then `taken`, or `failed`.
  func lock(
    _ path: String, _ kind: LockKind, owner: String, takeoverDelay: Duration = .seconds(3),
    mustBeNamed: Bool = false, busy: @escaping (String) -> Void, failed: @escaping (String) -> Void,
    taken: @escaping (String) -> Void
  ) {
    requests += 1
    let number = requests
    pending.append((number, { _ in }))
    isBusy = true
    mustName = mustBeNamed
    open(path, kind, owner, takeoverDelay, number, busy, failed, taken)
  }

  private func open(
    _ path: String, _ kind: LockKind, _ owner: String, _ takeoverDelay: Duration, _ number: Int,
    _ busy: @escaping (String) -> Void, _ failed: @escaping (String) -> Void,
    _ taken: @escaping (String) -> Void
  ) {
    let got = { [self] (lock: LockFile) in
      waitsFor = nil
      // Somebody has removed the file meanwhile: this lock is on nothing that others see.
      if lock.isUnlinked {
        lock.passOn()
        return open(path, kind, owner, takeoverDelay, number, busy, failed, taken)
      }
      let hasRoom = directory.hasRoom(at: world.now)
      if !hasRoom, mustName {
        lock.passOn()
        reply { [self] in
          pending.removeAll { $0.number == number }
          failed("\(directory.path): No space left on device")
        }
        return finishRequest()
      }
      let leftBy = lock.take(self, owner: owner, hasRoom: hasRoom)
      if !hasRoom { unnamed = { lock.name(owner) } }
      held.append(lock)
      if !leftBy.isEmpty { world.watch.saw(.vanished) }
      if !leftBy.isEmpty { left = (leftBy, world.now + takeoverDelay) }
      world.watch.lockTaken(lock.kind, lock.path, by: self.owner)
      reply { [self] in
        pending.removeAll { $0.number == number }
        heldAsTold += 1
        taken(leftBy)
      }
      finishRequest()
    }
    world.after(world.latency()) { [self] in
      guard isAlive, !isOrphan else { return }
      if let problem = problem(.lock) {
        reply { [self] in
          pending.removeAll { $0.number == number }
          failed(problem)
        }
        return finishRequest()
      }
      let lock = world.store.lock(path, kind, in: directory)
      if lock.isFree { return got(lock) }
      let holder = lock.content
      world.watch.saw(.waited)
      reply { busy(holder) }
      waitsFor = lock
      lock.wait(self) { got(lock) }
    }
  }

  enum Access {
    case read
    case write
    case lock
  }

  /// Why this cannot be done in its directory now; one that is missing is made by the first that is asked.
  func problem(_ access: Access) -> String? {
    if !hasMadeDirectory {
      hasMadeDirectory = true
      directory.make(at: world.now)
    }
    if access == .write, held.contains(where: \.isUnlinked) {
      return "\(directory.path): a lock in it was removed"
    }
    return directory.problem(access, at: world.now)
  }

  func unlock(_ done: @escaping () -> Void) {
    request(failed: { _ in done() }) { [self] in
      if let lock = held.popLast() {
        world.watch.lockReleased(lock.kind, lock.path, by: owner, why: "unlock")
        release(lock)
      }
      return { [self] in
        heldAsTold -= 1
        done()
      }
    }
  }

  /// Whether each lock file that is held names its holder; with room they do from now on.
  func nameLocks(hasRoom: Bool) -> Bool {
    guard let name = unnamed else { return true }
    guard hasRoom else { return false }
    name()
    unnamed = nil
    return true
  }

  private func release(_ lock: LockFile) {
    unnamed = nil
    if world.bug == .forgottenHolder { left = nil }
    lock.release(saying: left.flatMap { world.now < $0.until ? $0.name : nil } ?? "")
  }

  private func enqueue(_ request: Request) {
    queue.append(request)
    if !isBusy { next() }
  }

  private func finishRequest() {
    isBusy = false
    next()
  }

  private func next() {
    guard isAlive else { return }
    guard !queue.isEmpty else {
      if isOrphan || isClosedByUs { endInOrder() }
      return
    }
    let request = queue.removeFirst()
    isBusy = true
    world.after(request.latency) { [self] in
      guard isAlive else { return }
      let answer = request.work()
      reply { [self] in
        pending.removeAll { $0.number == request.number }
        answer()
      }
      finishRequest()
    }
  }

  /// Answers keep their order.
  private func reply(_ answer: @escaping () -> Void) {
    lastReply = max(lastReply, world.now + world.replyLatency())
    owner.deliver(at: lastReply) { [self] in
      guard !isClosed else { return }
      answer()
    }
  }

  // MARK: Its end

  /// PID 1 closes it: what is pending is not answered. One that waits for a lock does not see that, and is killed.
  func close() {
    guard !isClosed else { return }
    isClosed = true
    isClosedByUs = true
    if !pending.isEmpty, heldAsTold == 0 { return die() }
    pending = []
    if !isBusy { endInOrder() }
  }

  /// Closed as one that vanishes: the lock file goes on naming it.
  func abandon() {
    if guarded.isEmpty { die() }
    close()
  }

  /// The socket has broken, or PID 1 gave up waiting: everything pending fails.
  private func failAll(_ reason: String) {
    isClosed = true
    let waiting = pending
    pending = []
    for request in waiting { request.failed(reason) }
    guard isAlive else { return onLost() }
    // It goes on with what hangs, and sees only then that it is alone.
    isOrphan = true
    if !isBusy { endInOrder() }
  }

  /// PID 1 is gone.
  func loseFirst() {
    guard isAlive else { return }
    isClosed = true
    if held.isEmpty { return die() }
    isOrphan = true
    if !isBusy { endInOrder() }
  }

  /// Nobody is left to answer: first the groups, then the locks.
  private func endInOrder() {
    guard isAlive else { return }
    let running = guarded.filter(\.groupRuns)
    if held.isEmpty || running.isEmpty { return endNow() }
    for process in running { process.kill(within: .milliseconds(1)...(.milliseconds(50))) }
    world.after(.milliseconds(2)) { [self] in endInOrder() }
  }

  private func endNow() {
    isAlive = false
    for lock in held {
      world.watch.lockReleased(lock.kind, lock.path, by: owner, why: "\(name) ended")
      release(lock)
    }
    held = []
    guard !isClosedByUs else { return }
    owner.deliver(at: world.now + world.replyLatency()) { [self] in onLost() }
  }

  /// A planted mistake: the locks go, and nobody is told.
  func giveUpLocks() {
    let given = held
    (held, unnamed) = ([], nil)
    for lock in given {
      world.watch.lockReleased(
        lock.kind, lock.path, by: owner, why: "too early, by the planted mistake")
      lock.release(saying: "")
    }
  }

  /// Killed: nothing is in order.
  func die(lease: Duration = .zero) {
    guard isAlive else { return }
    isAlive = false
    waitsFor?.leave(self)
    waitsFor = nil
    for lock in held {
      world.after(lease) { [world, owner] in
        world.watch.lockReleased(lock.kind, lock.path, by: owner, why: nil)
        lock.release(saying: nil)
      }
    }
    held = []
  }

  /// Killed, and PID 1 hears of it.
  func crash() {
    die()
    let delay = world.random.duration(.milliseconds(1)...(.milliseconds(300)))
    owner.deliver(at: world.now + delay) { [self] in
      guard !isClosed else { return }
      failAll("the helper process ended unexpectedly")
    }
  }
}
