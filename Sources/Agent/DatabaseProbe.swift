import AgentProtocol
import NIOCore

/// One look at a database server: it has to take a connection, and to answer.
///
/// What only a person can change (a password, a database that is not there) is believed when it is still so a second
/// later: who sets the server up makes roles and databases while it takes connections already.
final class DatabaseProbe {
  /// How one attempt ended, each with a sentence.
  enum Answer {
    case ready(String)
    case failed(String, isPermanent: Bool)
  }

  /// Begins an attempt, which calls back once within its time; what is returned ends it without a word.
  typealias Attempt = (_ timeout: Duration, @escaping (Answer) -> Void) -> () -> Void

  private static let doubt = Duration.seconds(1)
  /// Without this much time behind the doubt there is no second attempt, and so no last word.
  private static let least = Duration.milliseconds(200)

  private let eventLoop: any EventLoop
  private let deadline: NIODeadline
  private let attempt: Attempt
  private var finish: ((ProbeOutcome) -> Void)?
  private var close: (() -> Void)?
  private var timer: Scheduled<Void>?

  init(
    eventLoop: any EventLoop, timeout: Duration, attempt: @escaping Attempt,
    finish: @escaping (ProbeOutcome) -> Void
  ) {
    self.eventLoop = eventLoop
    self.attempt = attempt
    self.finish = finish
    deadline = .now() + TimeAmount(timeout)
  }

  func begin() { look(isSecond: false) }

  /// Ends it without a word.
  func abandon() {
    finish = nil
    timer?.cancel()
    timer = nil
    close?()
    close = nil
  }

  private var left: Duration { .nanoseconds((deadline - .now()).nanoseconds) }

  private func look(isSecond: Bool) {
    // The driver says better than the runner's clock what did not come, so it is given a little less.
    let time = max(left - min(left / 10, .milliseconds(100)), .milliseconds(10))
    let close = attempt(time) { [weak self] answer in self?.take(answer, isSecond: isSecond) }
    // It may have answered already.
    if finish == nil { close() } else { self.close = close }
  }

  private func take(_ answer: Answer, isSecond: Bool) {
    switch answer {
    case .ready(let text): end(.ready(text))
    case .failed(let text, isPermanent: false): end(.notYet(text))
    case .failed(let text, isPermanent: true) where isSecond: end(.refused(text))
    case .failed(let text, isPermanent: true):
      guard left > Self.doubt + Self.least else { return end(.notYet(text)) }
      timer = eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(Self.doubt)) { [weak self] in
        self?.look(isSecond: true)
      }
    }
  }

  private func end(_ outcome: ProbeOutcome) {
    let finish = finish
    abandon()
    finish?(outcome)
  }
}
