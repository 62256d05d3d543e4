import AgentProtocol
import Phases
import Processes
import Settings

// Which servers, and under which name.
extension Planner {
  /// The servers that the settings name; nil when lock and readiness are files.
  public static func coordination(
    _ settings: EffectiveSettings, runID: RunID, owner: String, workingDirectory: RawString?
  ) -> CoordinationScope? {
    let coordination = settings.coordination
    guard coordination.isShared else { return nil }
    var scope = CoordinationScope(
      project: ProjectName(settings, workingDirectory: workingDirectory?.bytes ?? [UInt8(ascii: "/")]).value,
      runID: runID.value, owner: owner,
      takeoverDelay: coordination.takeoverDelay)
    if coordination.lock == .postgres {
      let postgres = coordination.postgres
      scope.postgres = CoordinationScope.PostgreSQL(
        connection: postgres.url, schema: postgres.schema, table: postgres.table)
    }
    if coordination.readiness == .redis, let redis = coordination.redis {
      scope.redis = CoordinationScope.Redis(
        url: redis.url, key: redis.key(of: runID.value), timeToLive: redis.timeToLive)
    }
    return scope
  }

  /// Where readiness is looked for, for messages: without user and password.
  static func place(of redis: RedisSettings, runID: RunID) -> String {
    var rest = Substring(redis.url)
    if let scheme = rest.firstRange(of: "://") { rest = rest[scheme.upperBound...] }
    // A password that was not escaped may have anything in it.
    if let login = rest.lastIndex(of: "@") { rest = rest[rest.index(after: login)...] }
    let address = rest.prefix { $0 != "/" && $0 != "?" }
    return "redis at \(address), key \(redis.key(of: runID.value))"
  }
}
