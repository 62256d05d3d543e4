import Blocking
import CPostgreSQL
import EventLoop
import Glibc
import NIOConcurrencyHelpers

/// The one thread that serves all connections of the agent with poll(2). It never blocks in libpq; what may block has
/// a thread of its own (`ConnectAttempt`, `Wire.cancel`).
final class ConnectionThread: Sendable {
  enum Command: Sendable {
    case open(wire: UInt64, PostgreSQLTarget, timeout: Duration)
    case attempted(wire: UInt64, PostgreSQLTarget, Result<ConnectionHandle, PostgreSQLFailure>)
    case send(wire: UInt64, WireRequest)
    case cancel(wire: UInt64)
    case close(wire: UInt64)
    case end
  }

  private struct Inbox {
    var commands: [Command] = []
    /// Whether a byte that wakes the thread is on its way.
    var isRung = false
    /// The writing end of the pipe; nil when the thread does not run.
    var bell: CInt?
  }

  // On a pthread mutex, which the thread sanitizer sees, unlike the one of Synchronization.
  private let inbox = NIOLockedValueBox(Inbox())
  private let deliver: @Sendable (UInt64, WireEvent) -> Void

  /// - Parameter deliver: is called on the thread, with the number of the connection.
  init(deliver: @escaping @Sendable (UInt64, WireEvent) -> Void) {
    self.deliver = deliver
  }

  func post(_ command: Command) {
    let failure: PostgreSQLFailure? = inbox.withLockedValue { inbox in
      if inbox.bell == nil {
        if case .open = command {
          if let failure = start(&inbox) { return failure }
        } else {
          // The answer to an attempt that outlived the thread.
          if case .attempted(_, _, .success(let handle)) = command { PQfinish(handle.pointer) }
          return nil
        }
      }
      inbox.commands.append(command)
      if !inbox.isRung, let bell = inbox.bell {
        inbox.isRung = true
        var byte: UInt8 = 1
        // The pipe is empty when nobody has rung.
        _ = write(bell, &byte, 1)
      }
      return nil
    }
    if let failure, case .open(let wire, _, _) = command { deliver(wire, .ended(failure)) }
  }

  private func start(_ inbox: inout Inbox) -> PostgreSQLFailure? {
    var ends: [CInt] = [-1, -1]
    guard pipe(&ends) == 0 else {
      return PostgreSQLFailure(.resources, "no pipe for the connections to PostgreSQL: \(errorText(errno))")
    }
    let (wakeUp, bell) = (ends[0], ends[1])
    for end in ends {
      _ = fcntl(end, F_SETFD, FD_CLOEXEC)
      _ = fcntl(end, F_SETFL, O_NONBLOCK)
    }
    let code = startDetachedThread { [self] in serve(wakeUp) }
    guard code == 0 else {
      close(wakeUp)
      close(bell)
      return PostgreSQLFailure(.resources, "no thread for PostgreSQL: \(errorText(code))")
    }
    inbox.bell = bell
    return nil
  }

  private func takeCommands() -> [Command] {
    inbox.withLockedValue { inbox in
      inbox.isRung = false
      defer { inbox.commands = [] }
      return inbox.commands
    }
  }

  // MARK: On the thread

  private func serve(_ wakeUp: CInt) {
    var wires: [UInt64: Wire] = [:]
    var attempts: [UInt64: MonotonicInstant] = [:]
    while true {
      for command in takeCommands() {
        if case .end = command {
          wires.values.forEach { $0.close() }
          return stop(wakeUp)
        }
        perform(command, &wires, &attempts)
      }
      wires = wires.filter { !$0.value.isEnded }

      let served = Array(wires.values)
      var waiting = [pollfd(fd: wakeUp, events: Int16(POLLIN), revents: 0)]
      waiting += served.map { pollfd(fd: $0.descriptor, events: $0.events, revents: 0) }
      let deadline = (served.compactMap(\.nextDeadline) + attempts.values).min()
      let left = deadline.map { ($0 - .now).wholeNanoseconds }
      let milliseconds = left.map { CInt(clamping: max(0, ($0 + 999_999) / 1_000_000)) } ?? -1
      if poll(&waiting, nfds_t(waiting.count), milliseconds) > 0 {
        if waiting[0].revents != 0 {
          var bytes = [UInt8](repeating: 0, count: 16)
          _ = read(wakeUp, &bytes, bytes.count)
        }
        for (wire, state) in zip(served, waiting.dropFirst()) where state.revents != 0 { wire.service() }
      }
      // After what has arrived: a process that was stopped for a while finds the answers of that time, and they count.
      let now = MonotonicInstant.now
      served.forEach { $0.expire(at: now) }
      for (wire, deadline) in attempts where now >= deadline {
        attempts[wire] = nil
        deliver(
          wire,
          .ended(PostgreSQLFailure(.noAnswer, "PostgreSQL: no connection in time (names, files or network)")))
      }
    }
  }

  private func perform(
    _ command: Command, _ wires: inout [UInt64: Wire], _ attempts: inout [UInt64: MonotonicInstant]
  ) {
    switch command {
    case .open(let wire, let target, let timeout):
      let deadline = MonotonicInstant.now + timeout
      let code = startDetachedThread { [self] in
        post(.attempted(wire: wire, target, ConnectAttempt.run(target, until: deadline)))
      }
      if code == 0 {
        // The attempt ends by itself at its deadline, unless a look-up hangs.
        attempts[wire] = deadline + .milliseconds(500)
      } else {
        deliver(
          wire, .ended(PostgreSQLFailure(.resources, "no thread for PostgreSQL: \(errorText(code))")))
      }
    case .attempted(let wire, let target, let result):
      let isWanted = attempts.removeValue(forKey: wire) != nil
      switch result {
      case .success(let handle) where isWanted:
        wires[wire] = Wire(handle, mask: { target.masked($0) }, report: { [deliver] in deliver(wire, $0) })
      case .success(let handle): PQfinish(handle.pointer)
      case .failure(let failure): if isWanted { deliver(wire, .ended(failure)) }
      }
    case .send(let wire, let request): wires[wire]?.send(request)
    case .cancel(let wire): wires[wire]?.cancel()
    case .close(let wire):
      attempts[wire] = nil
      wires[wire]?.close()
    case .end: break
    }
  }

  private func stop(_ wakeUp: CInt) {
    let rest = inbox.withLockedValue { inbox in
      if let bell = inbox.bell { close(bell) }
      defer { inbox = Inbox() }
      return inbox.commands
    }
    close(wakeUp)
    for command in rest {
      switch command {
      case .attempted(_, _, .success(let handle)): PQfinish(handle.pointer)
      case .open(let wire, _, _):
        deliver(
          wire, .ended(PostgreSQLFailure(.lost, "PostgreSQL: the client was ended before it connected")))
      default: break
      }
    }
  }
}
