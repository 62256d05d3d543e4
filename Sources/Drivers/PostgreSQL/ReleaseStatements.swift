import ReleaseRecords

/// Reading and writing one run ID's record: a statement each, so that it is one transaction through any pooler, and in
/// the durable way although the role may have synchronous_commit off.
struct ReleaseStatements: Sendable {
  let layout: TablesLayout
  let project: String
  let runID: String

  private static func nanoseconds(_ column: String) -> String {
    "(extract(epoch FROM \(column)) * 1000000)::bigint * 1000"
  }

  private static let now = nanoseconds("pg_catalog.clock_timestamp()")
  static let durable =
    "(SELECT CASE WHEN pg_catalog.current_setting('synchronous_commit') = 'off' "
    + "THEN pg_catalog.set_config('synchronous_commit', 'local', true) END)"

  // MARK: Reading

  /// A row for each step, at least one. There is always the time.
  var reading: Statement {
    Statement(
      """
      SELECT \(Self.now), r.run_id IS NOT NULL, r.owner, r.attempt, \(Self.nanoseconds("r.claimed_at")),
        \(Self.nanoseconds("r.heartbeat_at")), r.running_steps, r.running_since, r.running_deadlines,
        r.failures, r.failed_attempt, r.failed_step, r.failure, \(Self.nanoseconds("r.failed_at")),
        \(Self.nanoseconds("r.completed_at")), r.declared_by,
        s.step, s.hash, \(Self.nanoseconds("s.done_at")), s.output_names, s.output_values, s.parts
      FROM (SELECT 1) AS always LEFT JOIN \(layout.release) r ON r.project = $1 AND r.run_id = $2
      LEFT JOIN \(layout.step) s ON s.project = r.project AND s.run_id = r.run_id
      ORDER BY s.position
      """, [project, runID])
  }

  /// What the rows say; nil when they say nothing that this program could have written.
  func snapshot(_ rows: [[String?]]) -> ReleaseSnapshot? {
    guard let first = rows.first, first.count == 22, let now = first[0].flatMap({ UInt64($0) }) else {
      return nil
    }
    guard first[1] == "t" else { return ReleaseSnapshot(release: nil, now: now) }
    var release = ReleaseRecord(runID: runID)
    if let owner = first[2] {
      guard let attempt = first[3].flatMap({ Int($0) }), let started = first[4].flatMap({ UInt64($0) }),
        let heartbeat = first[5].flatMap({ UInt64($0) }), let steps = first[6].flatMap(ArrayText.decode),
        let since = first[7].flatMap(ArrayText.decode)?.map({ UInt64($0) }), since.count == steps.count,
        let deadlines = first[8].flatMap(ArrayText.decode)?.map({ UInt64($0) }),
        deadlines.count == steps.count
      else { return nil }
      release.claim = ReleaseRecord.Claim(
        owner: owner, attempt: attempt, startedAt: started, heartbeat: heartbeat,
        running: steps.indices.map {
          ReleaseRecord.Running(
            step: steps[$0], startedAt: since[$0] ?? 0, deadline: deadlines[$0].flatMap { $0 == 0 ? nil : $0 }
          )
        })
    }
    if let count = first[9].flatMap({ Int($0) }) {
      guard let failedAt = first[13].flatMap({ UInt64($0) }) else { return nil }
      release.failure = ReleaseRecord.Failure(
        count: count, attempt: first[10].flatMap { Int($0) } ?? 0, step: first[11] ?? "",
        reason: first[12] ?? "",
        failedAt: failedAt)
    }
    release.completedAt = first[14].flatMap { UInt64($0) }
    release.declaredBy = first[15]
    for row in rows {
      guard let step = row[16] else { continue }
      guard let hash = row[17], let names = row[19].flatMap(ArrayText.decode),
        let values = row[20].flatMap(ArrayText.decode), names.count == values.count,
        let parts = row[21].flatMap(ArrayText.decode)
      else { return nil }
      if let doneAt = row[18].flatMap({ UInt64($0) }) {
        release.entries.append(
          ReleaseRecord.Entry(
            step: step, hash: hash, doneAt: doneAt,
            outputs: zip(names, values).map { StepOutput(key: $0, value: $1) }))
      }
      release.parts += parts.map { ReleaseRecord.Part(step: step, hash: hash, name: $0) }
    }
    return ReleaseSnapshot(release: release, now: now)
  }

  // MARK: Writing

  /// Puts the record in the place of what is there, unless another one has claimed the release since: an attempt's number
  /// fences off those before it. One row: the time, whether it was written, and whose claim was found before.
  /// - Parameter unmarking: whose mark on the infrastructure lock goes with it, if it was written.
  func writing(_ release: ReleaseRecord, unmarking owner: String? = nil) -> Statement {
    let (claim, failure) = (release.claim, release.failure)
    var parameters: [String?] = [project, runID, claim?.owner, claim.map { "\($0.attempt)" }]
    let running = claim?.running ?? []
    parameters += [
      ArrayText.encode(running.map(\.step)), ArrayText.encode(running.map { "\($0.startedAt)" }),
      ArrayText.encode(running.map { "\($0.deadline ?? 0)" }),
    ]
    parameters += [
      failure.map { "\($0.count)" }, failure.map { "\($0.attempt)" }, failure?.step, failure?.reason,
      release.completedAt.map { "\($0 / 1000)" }, release.declaredBy,
    ]
    parameters += stepParameters(release)
    var unmarking = ""
    if let owner {
      parameters.append(owner)
      unmarking = """
        , unmarked AS (
          DELETE FROM \(layout.lock) l USING written
          WHERE l.project = $1 AND l.run_id = $2 AND l.name = '\(LockRows.Name.infrastructure.rawValue)' AND l.owner = $20
        )
        """
    }
    return Statement(
      """
      WITH t AS (SELECT pg_catalog.clock_timestamp() AS now), given AS (
        SELECT * FROM ROWS FROM (pg_catalog.unnest($14::text[]), pg_catalog.unnest($15::text[]),
          pg_catalog.unnest($16::bigint[]), pg_catalog.unnest($17::text[]), pg_catalog.unnest($18::text[]),
          pg_catalog.unnest($19::text[])) WITH ORDINALITY AS g(step, hash, done_at, output_names, output_values, parts, position)
      ), written AS (
        INSERT INTO \(layout.release) AS r (project, run_id, owner, attempt, claimed_at, heartbeat_at, running_steps,
          running_since, running_deadlines, failures, failed_attempt, failed_step, failure, failed_at, completed_at,
          declared_by, changed_at)
        SELECT $1, $2, $3::text, $4::bigint, CASE WHEN $3::text IS NOT NULL THEN t.now END,
          CASE WHEN $3::text IS NOT NULL THEN t.now END, $5::text[], $6::bigint[], $7::bigint[], $8::bigint, $9::bigint,
          $10::text, $11::text, CASE WHEN $8::bigint IS NOT NULL THEN t.now END,
          timestamptz 'epoch' + $12::bigint * interval '1 microsecond', $13::text, t.now
        FROM t
        ON CONFLICT (project, run_id) DO UPDATE SET owner = EXCLUDED.owner, attempt = EXCLUDED.attempt,
          claimed_at = CASE WHEN (r.owner, r.attempt) IS NOT DISTINCT FROM (EXCLUDED.owner, EXCLUDED.attempt)
            THEN r.claimed_at ELSE EXCLUDED.claimed_at END,
          heartbeat_at = EXCLUDED.heartbeat_at, running_steps = EXCLUDED.running_steps,
          running_since = EXCLUDED.running_since, running_deadlines = EXCLUDED.running_deadlines,
          failures = EXCLUDED.failures, failed_attempt = EXCLUDED.failed_attempt, failed_step = EXCLUDED.failed_step,
          failure = EXCLUDED.failure,
          failed_at = CASE WHEN (r.failures, r.failed_attempt) IS NOT DISTINCT FROM
            (EXCLUDED.failures, EXCLUDED.failed_attempt) THEN r.failed_at ELSE EXCLUDED.failed_at END,
          completed_at = EXCLUDED.completed_at, declared_by = EXCLUDED.declared_by, changed_at = EXCLUDED.changed_at
        WHERE r.attempt IS NULL OR EXCLUDED.attempt > r.attempt
          OR (EXCLUDED.attempt, EXCLUDED.owner) IS NOT DISTINCT FROM (r.attempt, r.owner)
        RETURNING 1
      ), gone AS (
        DELETE FROM \(layout.step) s USING written WHERE s.project = $1 AND s.run_id = $2
          AND NOT EXISTS (SELECT 1 FROM given g WHERE g.step = s.step AND g.hash = s.hash)
      ), kept AS (
        INSERT INTO \(layout.step) (project, run_id, step, hash, position, done_at, output_names, output_values, parts)
        SELECT $1, $2, g.step, g.hash, g.position,
          CASE WHEN g.done_at > 0 THEN timestamptz 'epoch' + g.done_at * interval '1 microsecond' END,
          g.output_names::text[], g.output_values::text[], g.parts::text[] FROM given g, written
        ON CONFLICT (project, run_id, step, hash) DO UPDATE SET position = EXCLUDED.position,
          done_at = EXCLUDED.done_at, output_names = EXCLUDED.output_names, output_values = EXCLUDED.output_values,
          parts = EXCLUDED.parts
      )\(unmarking)
      SELECT \(Self.nanoseconds("t.now")), (SELECT count(*) FROM written), r.owner, r.attempt, \(Self.durable)
      FROM t LEFT JOIN \(layout.release) r ON r.project = $1 AND r.run_id = $2
      """, parameters)
  }

  /// Names, hashes, times in microseconds (0: not done), and for each step an array of its own within the array.
  private func stepParameters(_ release: ReleaseRecord) -> [String?] {
    struct Name: Hashable {
      var step: String
      var hash: String
    }
    var order: [Name] = []
    var entries: [Name: ReleaseRecord.Entry] = [:]
    var parts: [Name: [String]] = [:]
    for entry in release.entries {
      let name = Name(step: entry.step, hash: entry.hash)
      if entries.updateValue(entry, forKey: name) == nil { order.append(name) }
    }
    for part in release.parts {
      let name = Name(step: part.step, hash: part.hash)
      if parts[name] == nil, entries[name] == nil { order.append(name) }
      parts[name, default: []].append(part.name)
    }
    return [
      ArrayText.encode(order.map(\.step)), ArrayText.encode(order.map(\.hash)),
      ArrayText.encode(order.map { "\((entries[$0]?.doneAt ?? 0) / 1000)" }),
      ArrayText.encode(order.map { ArrayText.encode(entries[$0]?.outputs.map(\.key) ?? []) }),
      ArrayText.encode(order.map { ArrayText.encode(entries[$0]?.outputs.map(\.value) ?? []) }),
      ArrayText.encode(order.map { ArrayText.encode(parts[$0] ?? []) }),
    ]
  }

  // MARK: Removing

  var removal: Statement {
    Statement(
      """
      WITH gone AS (DELETE FROM \(layout.release) WHERE project = $1 AND run_id = $2)
      , steps AS (DELETE FROM \(layout.step) WHERE project = $1 AND run_id = $2)
      SELECT \(Self.durable)
      """, [project, runID])
  }

  /// Of this project's other run IDs, those that nobody has written to for so long.
  func pruning(olderThan days: Int) -> Statement {
    Statement(
      """
      WITH gone AS (
        DELETE FROM \(layout.release) WHERE project = $1 AND run_id <> $2
          AND changed_at < pg_catalog.clock_timestamp() - \(days) * interval '1 day' RETURNING run_id
      ), steps AS (DELETE FROM \(layout.step) s USING gone WHERE s.project = $1 AND s.run_id = gone.run_id)
      SELECT run_id FROM gone ORDER BY run_id
      """, [project, runID])
  }
}
