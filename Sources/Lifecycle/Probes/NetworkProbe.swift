import Checks
import EventLoop

/// One run of a network check: tries the candidates of an endpoint and reports one outcome.
///
/// Candidates are tried in order; the next one starts when the one before has failed, or stays silent for a quarter
/// of the timeout. The first that passes, or gives an HTTP answer, decides.
final class NetworkProbe: ProbeHandle {
  private let loop: EventLoop
  private let endpoint: CheckEndpoint
  private let candidates: [CheckEndpoint.Candidate]
  private let request: [UInt8]?
  private let timeout: Duration
  private var completion: ((CheckOutcome) -> Void)?
  private var attempts: [ProbeAttempt] = []
  private var results: [ProbeAttempt.Result] = []
  private var timers: [TimerID] = []

  init(
    loop: EventLoop, endpoint: CheckEndpoint, request: [UInt8]?, timeout: Duration,
    completion: @escaping (CheckOutcome) -> Void
  ) {
    self.loop = loop
    self.endpoint = endpoint
    candidates = endpoint.candidates
    self.request = request
    self.timeout = timeout
    self.completion = completion
  }

  func start() {
    // These closures are what keeps the probe alive; `finish` ends them all.
    timers.append(loop.schedule(after: timeout) { self.timedOut() })
    tryNext()
  }

  func cancel() {
    finish(nil)
  }

  private func tryNext() {
    guard completion != nil, attempts.count < candidates.count else { return }
    let candidate = candidates[attempts.count]
    let attempt = ProbeAttempt(loop: loop, candidate: candidate, request: request) { self.attemptEnded($0) }
    attempts.append(attempt)
    if attempts.count < candidates.count {
      let position = attempts.count
      timers.append(
        loop.schedule(after: timeout / 4) {
          if self.attempts.count == position { self.tryNext() }
        })
    }
    attempt.start()
  }

  private func attemptEnded(_ result: ProbeAttempt.Result) {
    guard completion != nil else { return }
    results.append(result)
    switch result {
    case .passed: finish(.passed)
    case .answered(let reason): finish(.failed(reason))
    case .refused, .failed, .absent, .couldNotRun:
      if results.count == candidates.count {
        finish(verdict())
      } else if results.count == attempts.count {
        tryNext()
      }
    }
  }

  /// The outcome when no candidate answered.
  private func verdict() -> CheckOutcome {
    for case .couldNotRun(let reason) in results { return .couldNotRun(reason) }
    for case .failed(let reason) in results { return .failed(reason) }
    for case .refused in results { return .failed("connection refused at \(endpoint)") }
    for case .absent(let reason) in results { return .couldNotRun(reason) }
    return .couldNotRun("there is no address to try for \(endpoint)")
  }

  /// What has been missing so far: `no connection`, `no answer`, `no complete answer`.
  var silence: String { waitingAttempt?.silence ?? "no answer" }

  private var waitingAttempt: ProbeAttempt? { attempts.last { !$0.isEnded } }

  /// Reports what there is; called when the time is up.
  func timedOut() {
    // An answer whose head was good is a pass even though its body does not end.
    if attempts.contains(where: { $0.hasGoodHead }) { return finish(.passed) }
    for case .couldNotRun(let reason) in results { return finish(.couldNotRun(reason)) }
    let place = waitingAttempt.map { "\($0.candidate)" } ?? "\(endpoint)"
    finish(.failed("\(silence) within \(timeout.readable) at \(place)"))
  }

  private func finish(_ outcome: CheckOutcome?) {
    guard let completion else { return }
    self.completion = nil
    for timer in timers { loop.cancel(timer) }
    for attempt in attempts { attempt.close() }
    timers = []
    attempts = []
    if let outcome { completion(outcome) }
  }
}
