import EventLoop

/// A node that still runs django-autoinit, as far as others can see it: the same lock, for its session and without a
/// limit to the wait, readiness in Redis and nowhere else, looked at each second, and no trace of one that vanished.
///
/// Its weaknesses are its own: when its session is ended, the lock goes while its hook goes on for a moment; it waits for
/// nobody's statements in the server; and it runs everything again when Redis has forgotten.
final class Autoinit {
  private unowned let world: World
  let name: String
  let release: Scenario.Release
  private var session: ServerSession?
  private var triesLeft = 8
  private(set) var isSettled = false
  /// What it runs now.
  private(set) var step: String?
  /// Since when it runs without its lock.
  private(set) var hasLostLock = false

  init(world: World, number: Int, release: Scenario.Release) {
    self.world = world
    self.release = release
    name = "autoinit-\(number)"
  }

  func begin() {
    guard !world.isClosing else { return settle() }
    guard let server = world.database, server.refusal() == nil else {
      return world.after(.seconds(1)) { [self] in begin() }
    }
    guard let isReady = look() else { return fail() }
    if isReady { return settle() }
    let session = server.open()
    self.session = session
    hasLostLock = false
    session.applicationName = name
    session.onEnd = { [weak self, weak session] _ in
      guard let self, self.session === session else { return }
      self.session = nil
      hasLostLock = true
      // The hook works with the same connection, and fails with its next query.
      world.after(world.random.duration(.milliseconds(1)...(.milliseconds(100)))) { [self] in fail() }
    }
    let take = Statement { session, done in
      session.server.infrastructure.wait(session, isExclusive: true) { done(.success(StatementResult())) }
    }
    session.execute(take) { [weak self, weak session] _ in
      guard let self, let session, self.session === session else { return }
      world.trace("\(name) has the infrastructure lock")
      guard let isReady = look() else { return fail() }
      if isReady { return leave() }
      run(0)
    }
  }

  /// Nil when Redis does not answer.
  private func look() -> Bool? {
    guard let redis = world.redis, !redis.isAway else { return nil }
    return redis.isSet(release.runID.value)
  }

  private func run(_ index: Int) {
    guard session != nil else { return }
    guard index < release.infrastructure.count else {
      step = nil
      guard let redis = world.redis, !redis.isAway else { return fail() }
      redis.set(release.runID.value, to: true, for: .seconds(86400), publishes: false)
      world.trace("\(name): ready")
      world.watch.saw(.autoinit)
      return leave()
    }
    let plan = release.infrastructure[index]
    step = plan.step.name
    world.trace("\(name) runs \(plan.step.name)")
    world.watch.began(self)
    world.after(world.random.duration(plan.duration)) { [self, session] in
      guard self.session != nil, self.session === session else { return }
      step = nil
      if plan.behaviour != .succeeds, world.random.chance(50) { return fail() }
      world.store.apply(release.runID.value, plan.step.name)
      run(index + 1)
    }
  }

  private func leave() {
    step = nil
    if let session {
      session.onEnd = { _ in }
      self.session = nil
      session.end(.gone, nil)
    }
    world.trace("\(name) gives the infrastructure lock back")
    settle()
  }

  private func settle() {
    isSettled = true
    world.autoinitSettled()
  }

  /// Its container is started again, for a while.
  private func fail() {
    guard !isSettled else { return }
    step = nil
    if let session {
      session.onEnd = { _ in }
      self.session = nil
      session.end(.gone, nil)
    }
    triesLeft -= 1
    if triesLeft == 0 { return settle() }
    world.after(world.random.duration(.milliseconds(500)...(.seconds(3)))) { [self] in begin() }
  }
}
