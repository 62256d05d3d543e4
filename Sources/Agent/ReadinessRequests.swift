import AgentProtocol
import EventLoop
import NIOCore
import RedisDriver

/// Readiness in Redis, as PID 1 asks for it.
final class ReadinessRequests {
  /// How long one try to read goes on before its failure is told, and the next one begins.
  private static let readPatience = Duration.seconds(2)
  private static let pause = TimeAmount.milliseconds(200)
  private static let writePatience = Duration.seconds(5)
  /// A reason that looks permanent must still be there after this, as with PostgreSQL.
  private static let doubt = TimeAmount.seconds(1)

  private let redis: RedisReadiness
  private let eventLoop: any NIOCore.EventLoop
  private let report: (CoordinationReport) -> Void
  private let log: (AgentReport.LogLevel, String) -> Void
  private var reads: Set<UInt64> = []
  private var writes: Set<UInt64> = []
  private var watches: Set<UInt64> = []

  /// - Throws: when the address cannot be used.
  init(
    _ place: CoordinationScope.Redis, eventLoop: any NIOCore.EventLoop, certificateFile: String?,
    log: @escaping (AgentReport.LogLevel, String) -> Void, report: @escaping (CoordinationReport) -> Void
  ) throws(RedisFailure) {
    redis = RedisReadiness(
      eventLoop: eventLoop, target: try RedisTarget(url: place.url), key: place.key,
      timeToLive: place.timeToLive, channel: place.key + ":changed", certificateFile: certificateFile)
    self.eventLoop = eventLoop
    self.log = log
    self.report = report
  }

  func read(_ id: UInt64) {
    reads.insert(id)
    look(id, isDoubted: false)
  }

  private func look(_ id: UInt64, isDoubted: Bool) {
    guard reads.contains(id) else { return }
    redis.read(timeout: Self.readPatience) { [weak self] result in
      guard let self, reads.contains(id) else { return }
      switch result {
      case .success(.ready): finish(id, isReady: true)
      case .success(.notReady): finish(id, isReady: false)
      case .success(.stranger(let what)): finish(id, isReady: false, text: what)
      case .failure(let failure) where failure.isPermanent && isDoubted:
        reads.remove(id)
        report(.failed(id: id, CoordinationFailure(failure)))
      case .failure(let failure):
        report(.unavailable(id: id, CoordinationFailure(failure)))
        let pause = failure.isPermanent ? Self.doubt : Self.pause
        eventLoop.assumeIsolated().scheduleTask(in: pause) { [weak self] in
          self?.look(id, isDoubted: failure.isPermanent)
        }
      }
    }
  }

  private func finish(_ id: UInt64, isReady: Bool, text: String = "") {
    reads.remove(id)
    report(.readiness(id: id, isReady: isReady, text: text))
  }

  func write(_ id: UInt64, isReady: Bool) {
    writes.insert(id)
    guard isReady else {
      redis.clear(timeout: Self.writePatience) { [weak self] in self?.wrote(id, $0.map { _ in }) }
      return
    }
    redis.set(timeout: Self.writePatience) { [weak self] result in
      if case .success(let written) = result {
        if let replaced = written.replaced {
          self?.log(.warning, "under the key of readiness in Redis stood \(replaced); it is replaced")
        }
        if let failure = written.unannounced {
          self?.log(
            .warning,
            "those that wait for readiness see it later, since it could not be announced: \(failure)")
        }
      }
      self?.wrote(id, result.map { _ in })
    }
  }

  private func wrote(_ id: UInt64, _ result: Result<Void, RedisFailure>) {
    guard writes.remove(id) != nil else { return }
    switch result {
    case .success: report(.done(id: id))
    case .failure(let failure): report(.failed(id: id, CoordinationFailure(failure)))
    }
  }

  func watch(_ id: UInt64) {
    let isFirst = watches.isEmpty
    watches.insert(id)
    // Something may have changed before: also for one that comes later.
    guard isFirst else { return report(.readinessChanged(id: id)) }
    redis.watch(
      onFailure: { [log] in log(.warning, "changes of readiness in Redis are not heard: \($0)") },
      onChange: { [weak self] in
        guard let self else { return }
        for id in watches.sorted() { report(.readinessChanged(id: id)) }
      })
  }

  func cancel(_ id: UInt64) {
    reads.remove(id)
    writes.remove(id)
    if watches.remove(id) != nil, watches.isEmpty { redis.unwatch() }
  }

  /// Closes everything without a word.
  func end() {
    redis.end()
  }
}

extension CoordinationFailure {
  /// What PID 1 makes of a failure of Redis'.
  init(_ failure: RedisFailure) {
    let kind: Kind
    switch failure.cause {
    case .settings: kind = .settings
    case .privilege: kind = .permission
    case .strangersValue: kind = .damaged
    case .credentials, .certificate, .database, .clusterMoved, .noRedis, .statement: kind = .refused
    case .unreachable, .loading, .readOnly, .noAnswer, .lost, .resources, .busy: kind = .unavailable
    }
    self.init(kind, failure.text)
  }
}
