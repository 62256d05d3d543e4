import Checks
import EventLoop
import Processes

/// Checks by running a command: exit code 0 passes.
///
/// The command has a process group of its own, which is killed when the time is up, when the command ends leaving
/// others behind, and when the probe is cancelled.
final class ExecProbe: ProbeHandle {
  private let loop: EventLoop
  private let table: ProcessTable
  private let timeout: Duration
  private var completion: ((CheckOutcome) -> Void)?
  private var pid: CInt = 0
  private var timer: TimerID?

  private init(
    loop: EventLoop, table: ProcessTable, timeout: Duration, completion: @escaping (CheckOutcome) -> Void
  ) {
    self.loop = loop
    self.table = table
    self.timeout = timeout
    self.completion = completion
  }

  /// Starts the command. `completion` is called once, after this call has returned, never after `cancel`.
  static func start(
    loop: EventLoop, table: ProcessTable, image: ProcessImage, timeout: Duration,
    completion: @escaping (CheckOutcome) -> Void
  ) -> ExecProbe {
    let probe = ExecProbe(loop: loop, table: table, timeout: timeout, completion: completion)
    probe.spawn(image)
    return probe
  }

  private func spawn(_ image: ProcessImage) {
    do throws(SpawnFailure) {
      pid = try table.spawn(
        image,
        started: { [self] failure in
          guard let failure else { return }
          finish(failure.isTemporary ? .couldNotRun("\(failure)") : .failed("\(failure)"))
        },
        ended: { [self] status in
          table.signalGroup(pid, .kill)
          finish(status == .exited(0) ? .passed : .failed("\(status)"))
        })
      timer = loop.schedule(after: timeout) { [weak self] in self?.timedOut() }
    } catch {
      let failure = error
      loop.defer { [self] in finish(.couldNotRun("\(failure)")) }
    }
  }

  private func timedOut() {
    table.signalGroup(pid, .kill)
    finish(.failed("did not end within \(timeout.readable)"))
  }

  private func finish(_ outcome: CheckOutcome) {
    if let timer { loop.cancel(timer) }
    timer = nil
    guard let completion else { return }
    self.completion = nil
    completion(outcome)
  }

  func cancel() {
    completion = nil
    if let timer { loop.cancel(timer) }
    timer = nil
    if table.contains(pid) { table.signalGroup(pid, .kill) }
  }
}
