/// What a lock's questions are in SQL, and what the answers mean.
struct LockStatements {
  let key: LockKey
  let serverVersion: Int

  func statement(_ question: SessionLock.Question) -> Statement {
    switch question {
    case .take: return Statement("SELECT pg_catalog.pg_try_advisory_lock(\(key.value))")
    case .takeInTransaction:
      return Statement(
        "BEGIN ISOLATION LEVEL READ COMMITTED; \(SessionSettings.forTransaction(version: serverVersion))"
          + "SELECT pg_catalog.pg_try_advisory_xact_lock(\(key.value))")
    case .endTransaction: return Statement("ROLLBACK")
    case .waitUntilFree: return Statement(waiting)
    case .isFree: return Statement("SELECT pg_catalog.pg_try_advisory_xact_lock_shared(\(key.value))")
    case .whoHolds: return Statement(holder)
    case .ping, .pingInTransaction: return Statement("SELECT 1")
    case .giveBack: return Statement("SELECT pg_catalog.pg_advisory_unlock(\(key.value))")
    }
  }

  func answer(_ question: SessionLock.Question, _ result: StatementResult) -> SessionLock.Answer {
    let isTrue = result.field(0, 0) == "t"
    switch question {
    case .take, .takeInTransaction: return .got(isTrue)
    case .endTransaction, .giveBack: return .done
    case .waitUntilFree, .isFree: return .free(isTrue)
    case .whoHolds:
      return .holder(result.rows.first.flatMap { LockHolder(row: $0) })
    case .ping: return .alive(true)
    case .pingInTransaction: return .alive(result.transaction == .open)
    }
  }

  /// The shared form for the length of a slice, given back with the statement's transaction. A lock_timeout that nobody
  /// caught would be an error in the server's log for each slice of each waiter.
  private var waiting: String {
    """
    DO $wait$ BEGIN
      PERFORM pg_catalog.set_config('lock_timeout', '\(SessionLock.slice.components.attoseconds / 1_000_000_000_000_000)ms', true);
      PERFORM pg_catalog.pg_advisory_xact_lock_shared(\(key.value));
      PERFORM pg_catalog.set_config('supervisor.is_free', 't', false);
    EXCEPTION WHEN lock_not_available THEN
      PERFORM pg_catalog.set_config('supervisor.is_free', 'f', false);
    END $wait$;
    SELECT pg_catalog.current_setting('supervisor.is_free')
    """
  }

  /// Those of another role show neither name nor time to one who is no member of pg_read_all_stats.
  private var holder: String {
    """
    SELECT l.pid, a.usename, a.application_name, pg_catalog.host(a.client_addr),
      (1000 * extract(epoch FROM pg_catalog.clock_timestamp()
        - CASE WHEN a.state LIKE 'idle in transaction%' THEN a.xact_start ELSE a.backend_start END))::bigint
    FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.classid = \(key.classID) AND l.objid = \(key.objectID) AND l.objsubid = 1
      AND l.granted AND l.mode = 'ExclusiveLock'
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
    LIMIT 1
    """
  }
}
