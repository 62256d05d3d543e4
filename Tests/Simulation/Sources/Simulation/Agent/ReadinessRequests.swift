import AgentProtocol
import NIOCore
import RedisDriver

/// The coordinator's own part in readiness, which hears of nothing here: see `ReadinessTalk`.
final class ReadinessRequests {
  init(
    _ place: CoordinationScope.Redis, eventLoop: any NIOCore.EventLoop, certificateFile: String?,
    log: @escaping (AgentReport.LogLevel, String) -> Void, report: @escaping (CoordinationReport) -> Void
  ) throws(RedisFailure) {}

  func read(_ id: UInt64) {}
  func write(_ id: UInt64, isReady: Bool) {}
  func watch(_ id: UInt64) {}
  func cancel(_ id: UInt64) {}
  func end() {}
}

extension CoordinationFailure {
  /// As the agent has it; nobody makes one here.
  init(_ failure: RedisFailure) {
    self.init(.unavailable, failure.text)
  }
}
