import CLinux
import EventLoop
import Glibc
import Testing

/// Whether the other end is closed, after at most this many milliseconds.
private func hasEnded(_ descriptor: CInt, within milliseconds: CInt) -> Bool {
  var request = pollfd(fd: descriptor, events: 0, revents: 0)
  return poll(&request, 1, milliseconds) == 1 && request.revents & Int16(POLLHUP) != 0
}

struct LoopTests {
  // MARK: Timers

  @Test func `timers come in the order of their deadlines, never early`() throws {
    let loop = try EventLoop()
    let log = Log()
    let start = MonotonicInstant.now
    for (name, delay) in [("c", 30), ("a", 5), ("b", 15)] as [(String, Int)] {
      loop.schedule(at: start + .milliseconds(delay)) {
        #expect(MonotonicInstant.now - start >= .milliseconds(delay))
        log.add(name)
      }
    }
    #expect(turn(loop) { log.entries.count == 3 })
    #expect(log.entries == ["a", "b", "c"])
  }

  @Test func `a turn that does not wait comes back at once, and past deadlines fire in it`() throws {
    let loop = try EventLoop()
    let log = Log()
    loop.schedule(after: .seconds(60)) { log.add("far") }
    loop.schedule(at: MonotonicInstant(nanoseconds: 0)) { log.add("past") }
    loop.turn(waiting: false)
    #expect(log.entries == ["past"])
  }

  @Test func `what has happened is told before a timer that is due at the same time begins something`() throws
  {
    let loop = try EventLoop()
    let log = Log()
    let pipe = Pipe()
    try loop.watch(pipe.reading, for: .reading) { _ in
      // As one that takes a message apart, and hands it on in a turn of its own.
      loop.unwatch(pipe.reading)
      loop.defer { log.add("told") }
    }
    loop.schedule(at: .now) { log.add("timer") }
    pipe.put()
    #expect(turn(loop) { log.entries.count == 2 })
    #expect(log.entries == ["told", "timer"])
  }

  @Test func `the wait follows the earliest timer after it changes`() throws {
    let loop = try EventLoop()
    let log = Log()
    let far = loop.schedule(after: .seconds(60)) { log.add("far") }
    loop.turn(waiting: false)
    // Armed for the far one, then an earlier one comes, is cancelled, and a later one takes its place.
    let near = loop.schedule(after: .milliseconds(1)) { log.add("near") }
    loop.cancel(near)
    loop.schedule(after: .milliseconds(10)) { log.add("middle") }
    #expect(turn(loop) { !log.entries.isEmpty })
    #expect(log.entries == ["middle"])
    loop.cancel(far)
  }

  @Test func `a handler may cancel a timer that is due in the same turn, and schedule new ones`() throws {
    let loop = try EventLoop()
    let log = Log()
    let past = MonotonicInstant.now
    var victim: TimerID?
    loop.schedule(at: past) {
      if let victim { loop.cancel(victim) }
      log.add("first")
      loop.schedule(after: .milliseconds(1)) { log.add("later") }
    }
    victim = loop.schedule(at: past) { log.add("victim") }
    #expect(turn(loop) { log.entries.count >= 2 })
    #expect(log.entries == ["first", "later"])
  }

  @Test func `ten thousand timers, most of them cancelled, all keep their word`() throws {
    let loop = try EventLoop()
    var fired = 0
    var cancelled: [TimerID] = []
    let now = MonotonicInstant.now
    for index in 0..<10_000 {
      let timer = loop.schedule(at: now + .microseconds(index % 977)) { fired += 1 }
      if index % 10 != 0 { cancelled.append(timer) }
    }
    for timer in cancelled { loop.cancel(timer) }
    #expect(turn(loop) { fired >= 1000 })
    #expect(fired == 1000)
  }

  // MARK: Deferred work

  @Test func `deferred work runs in the same turn, after what is being handled, what it defers too`() throws {
    let loop = try EventLoop()
    let log = Log()
    loop.schedule(at: .now) {
      loop.defer {
        log.add("deferred")
        loop.defer { log.add("deferred by deferred") }
      }
      log.add("handler")
    }
    loop.schedule(at: .now) { log.add("second handler") }
    #expect(turn(loop) { !log.entries.isEmpty })
    #expect(log.entries == ["handler", "second handler", "deferred", "deferred by deferred"])
  }

  @Test func `deferred work from outside runs before the loop waits`() throws {
    let loop = try EventLoop()
    let log = Log()
    loop.defer {
      log.add("ran")
      loop.stop()
    }
    // With nothing else to wait for this would otherwise wait for ever.
    loop.schedule(after: .seconds(5)) {}
    loop.defer { loop.schedule(at: .now) {} }
    loop.turn(waiting: true)
    #expect(log.entries == ["ran"])
  }

  @Test func `run goes on until it is stopped`() throws {
    let loop = try EventLoop()
    var turns = 0
    func again() {
      turns += 1
      if turns == 3 { loop.stop() } else { loop.schedule(after: .milliseconds(1), again) }
    }
    loop.schedule(after: .zero, again)
    loop.run()
    #expect(turns == 3)
  }

  // MARK: Descriptors

  @Test func `a watched descriptor is reported as long as it is ready, and no longer`() throws {
    let loop = try EventLoop()
    let pipe = Pipe()
    var calls = 0
    try loop.watch(pipe.reading, for: .reading) { readiness in
      #expect(readiness.contains(.readable))
      calls += 1
      if calls == 2 { pipe.take() }
    }
    pipe.put()
    for _ in 0..<5 { loop.turn(waiting: false) }
    #expect(calls == 2)
    loop.unwatch(pipe.reading)
    pipe.put()
    loop.turn(waiting: false)
    #expect(calls == 2)
  }

  @Test func `the end of the other side is told, also without any interest`() throws {
    let loop = try EventLoop()
    let pipe = Pipe()
    var seen: Readiness = []
    try loop.watch(pipe.reading, for: []) { seen.formUnion($0) }
    pipe.put()
    loop.turn(waiting: false)
    #expect(seen == [])
    pipe.closeWriting()
    // At once, but for a process that another test starts just now: it holds a copy until its exec.
    #expect(turn(loop) { !seen.isDisjoint(with: .closed) })
    #expect(!seen.contains(.readable))
    loop.unwatch(pipe.reading)
  }

  @Test func `interest can be changed, and changing what is not watched is nothing`() throws {
    let loop = try EventLoop()
    let pipe = Pipe()
    var calls = 0
    try loop.watch(pipe.writing, for: .writing) { _ in calls += 1 }
    loop.turn(waiting: false)
    loop.setInterest([], of: pipe.writing)
    loop.turn(waiting: false)
    #expect(calls == 1)
    loop.setInterest(.writing, of: pipe.writing)
    loop.turn(waiting: false)
    #expect(calls == 2)
    loop.unwatch(pipe.writing)
    loop.unwatch(pipe.writing)
    loop.setInterest(.reading, of: pipe.writing)
    loop.turn(waiting: false)
    #expect(calls == 2)
  }

  @Test func `watching twice, or what is not open, is an error that names the descriptor`() throws {
    let loop = try EventLoop()
    let pipe = Pipe()
    var calls = 0
    try loop.watch(pipe.reading, for: .reading) { _ in calls += 1 }
    let twice = #expect(throws: SystemError.self) { try loop.watch(pipe.reading, for: .reading) { _ in } }
    #expect(twice?.code == EEXIST)
    #expect(twice.map { "\($0)" }?.contains("watch descriptor \(pipe.reading)") == true)
    #expect(throws: SystemError.self) { try loop.watch(-1, for: .reading) { _ in } }
    // The first watch still stands.
    pipe.put()
    loop.turn(waiting: false)
    #expect(calls == 1)
    loop.unwatch(pipe.reading)
  }

  @Test func `a handler can unwatch another one that is ready in the same turn`() throws {
    let loop = try EventLoop()
    let first = Pipe()
    let second = Pipe()
    let log = Log()
    for (name, own, other) in [("first", first, second), ("second", second, first)] {
      try loop.watch(own.reading, for: .reading) { _ in
        log.add(name)
        loop.unwatch(other.reading)
        own.take()
      }
    }
    first.put()
    second.put()
    loop.turn(waiting: false)
    loop.turn(waiting: false)
    #expect(log.entries.count == 1)
    loop.unwatch(first.reading)
    loop.unwatch(second.reading)
  }

  @Test func `an event for a closed descriptor never reaches the next owner of its number`() throws {
    let loop = try EventLoop()
    let first = Pipe()
    let second = Pipe()
    let fresh = Pipe()
    let log = Log()
    // Whichever comes first closes the other's descriptor and gives its number to one with nothing to read.
    func replace(_ other: Pipe) throws {
      let number = other.reading
      loop.unwatch(number)
      #expect(dup2(fresh.reading, number) == number)
      try loop.watch(number, for: .reading) { _ in log.add("stale") }
    }
    for (own, other) in [(first, second), (second, first)] {
      try loop.watch(own.reading, for: .reading) { _ in
        log.add("own")
        own.take()
        #expect(throws: Never.self) { try replace(other) }
      }
    }
    first.put()
    second.put()
    loop.turn(waiting: false)
    loop.turn(waiting: false)
    #expect(log.entries == ["own"])
    // The new watch works.
    fresh.put()
    loop.turn(waiting: false)
    #expect(log.entries == ["own", "stale"])
    loop.unwatch(first.reading)
    loop.unwatch(second.reading)
  }

  @Test func `descriptors are handled before timers that are due`() throws {
    let loop = try EventLoop()
    let pipe = Pipe()
    let log = Log()
    loop.schedule(at: .now) { log.add("timer") }
    try loop.watch(pipe.reading, for: .reading) { _ in
      log.add("descriptor")
      pipe.take()
    }
    pipe.put()
    #expect(turn(loop) { log.entries.count == 2 })
    #expect(log.entries == ["descriptor", "timer"])
    loop.unwatch(pipe.reading)
  }

  @Test func `a hundred ready descriptors are all served`() throws {
    let loop = try EventLoop()
    let pipes = (0..<100).map { _ in Pipe() }
    var served: Set<CInt> = []
    for pipe in pipes {
      try loop.watch(pipe.reading, for: .reading) { _ in
        served.insert(pipe.reading)
        pipe.take()
      }
      pipe.put()
    }
    #expect(turn(loop) { served.count == 100 })
    for pipe in pipes { loop.unwatch(pipe.reading) }
  }

  // MARK: The rest

  @Test func `an owned descriptor is closed with its owner, a released one is not`() {
    func openNull() -> CInt { open("/dev/null", O_RDONLY | O_CLOEXEC) }
    let kept = FileDescriptor(owning: openNull()).release()
    #expect(fcntl(kept, F_GETFD) >= 0)
    close(kept)
    // The number may be another test's as soon as it is closed: the other end tells.
    let pipe = Pipe()
    let copy = fcntl(pipe.writing, F_DUPFD_CLOEXEC, 0)
    pipe.closeWriting()
    do {
      let owned = FileDescriptor(owning: copy)
      #expect(fcntl(owned.rawValue, F_GETFD) >= 0)
      #expect(!hasEnded(pipe.reading, within: 0))
    }
    #expect(hasEnded(pipe.reading, within: 30_000))
  }

  @Test func `a failed call says what, on what and why`() {
    let error = SystemError(code: EACCES, operation: "listen on", subject: "127.0.0.1:80")
    #expect("\(error)" == "listen on 127.0.0.1:80: Permission denied")
    #expect("\(SystemError(code: ENOENT, operation: "list"))" == "list: No such file or directory")
    #expect(throws: SystemError(code: EIO, operation: "read", subject: "x")) {
      try SystemError.check(-EIO, "read", "x")
    }
    #expect((try? SystemError.check(7, "read")) == 7)
  }
}
