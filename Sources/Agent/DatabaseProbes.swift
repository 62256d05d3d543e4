import AgentProtocol
import NIOCore
import PostgreSQLDriver
import RedisDriver

/// Looks at database servers for the probe runner, through the drivers that coordination uses. Used on the loop only.
final class DatabaseProbes {
  private let eventLoop: any EventLoop
  private let postgres: PostgreSQLClient
  private let redis: RedisClient

  /// - Parameter certificateFile: trusted certificates (PEM) for Redis instead of the system's; libpq has settings of
  ///   its own.
  init(eventLoop: any EventLoop, certificateFile: String?) {
    self.eventLoop = eventLoop
    postgres = PostgreSQLClient(eventLoop: eventLoop)
    redis = RedisClient(eventLoop: eventLoop, certificateFile: certificateFile)
  }

  /// Begins to look; `finish` is called once, unless what is returned is called before.
  func look(
    _ target: ProbeTarget, timeout: Duration, _ finish: @escaping (ProbeOutcome) -> Void
  ) -> () -> Void {
    let attempt: DatabaseProbe.Attempt
    switch target {
    case .postgres(let connection): attempt = lookAtPostgreSQL(connection)
    case .redis(let url):
      do throws(RedisFailure) {
        attempt = lookAtRedis(try RedisTarget(url: url))
      } catch {
        finish(.refused(error.text))
        return {}
      }
    case .dns, .tcp, .http, .file, .sqlite:
      finish(.refused("\(target) is no database server"))
      return {}
    }
    let probe = DatabaseProbe(eventLoop: eventLoop, timeout: timeout, attempt: attempt, finish: finish)
    probe.begin()
    return { probe.abandon() }
  }

  private func lookAtPostgreSQL(_ connection: String) -> DatabaseProbe.Attempt {
    var target = PostgreSQLTarget(
      connectionString: connection, applicationName: ApplicationName(project: "-", run: "-", purpose: "wait"))
    target.takesStandby = true
    return { [postgres, target] timeout, answer in
      let connection = postgres.open(target, timeout: timeout) { result in
        switch result {
        case .success(let session): answer(.ready("\(session.place) takes connections"))
        case .failure(let failure): answer(.failed(failure.text, isPermanent: failure.isPermanent))
        }
      }
      return { connection.close() }
    }
  }

  private func lookAtRedis(_ target: RedisTarget) -> DatabaseProbe.Attempt {
    var target = target
    target.clientName = "supervisor-wait"
    return { [redis, target] timeout, answer in
      let connection = redis.open(target, timeout: timeout) { result in
        switch result {
        case .success: answer(.ready("\(target) answers"))
        case .failure(let failure): answer(.failed(failure.text, isPermanent: failure.isPermanent))
        }
      }
      return { connection.close() }
    }
  }
}
