import Testing

@testable import Settings

@Suite struct KeyTableTests {
  @Test func pathsAreUnique() {
    #expect(Set(KeyTable.keys.map(\.path)).count == KeyTable.keys.count)
  }

  @Test func environmentNamesAreUniqueAndFree() {
    let names = KeyTable.keys.compactMap(\.environmentName)
    #expect(Set(names).count == names.count)
    #expect(Set(names).isDisjoint(with: SettingsLoader.otherVariables))
    #expect(names.contains("SUPERVISOR_RUN_ID"))
    #expect(names.contains("SUPERVISOR_LITEFS_MOUNT_PATH"))
    #expect(!names.contains { $0.contains("*") || $0.contains("[") })
  }

  @Test(arguments: KeyTable.keys.filter { $0.defaultText != nil }.map(\.path))
  func defaultsAreValuesOfTheirType(_ path: String) throws {
    let key = try #require(KeyTable.byPath[path])
    #expect(key.defaultValue != nil, "\(key.path): \(key.defaultText ?? "")")
  }

  @Test func secretsHaveAFileTwin() {
    let secrets = KeyTable.keys.filter(\.isSecret)
    #expect(secrets.count == 3)
    for secret in secrets {
      #expect(KeyTable.byPath["\(secret.path)_file"] != nil, "\(secret.path)")
    }
  }

  @Test(arguments: KeyTable.keys.map(\.path))
  func everyKeyHasOneLineOfHelp(_ path: String) throws {
    let key = try #require(KeyTable.byPath[path])
    #expect(!key.summary.isEmpty)
    #expect(!key.summary.contains("\n"))
  }

  /// The keys of the contract, so that none is forgotten in the table.
  @Test(arguments: [
    "run_id", "timeout", "max_wait", "stop_timeout", "run_dir", "state_dir", "include", "environment",
    "clear_environment", "wait_for", "framework.name", "framework.python", "framework.settings_module",
    "framework.databases", "coordination.project", "coordination.lock", "coordination.readiness",
    "coordination.readiness_key_prefix", "coordination.readiness_ttl", "coordination.retry_after",
    "coordination.takeover_delay", "coordination.poll_interval", "coordination.postgres.url",
    "coordination.postgres.schema", "coordination.postgres.table", "coordination.redis.url",
    "infrastructure.parallelism", "infrastructure.on_failure", "infrastructure.steps[].name",
    "infrastructure.steps[].needs", "infrastructure.steps[].recheck", "infrastructure.steps[].every",
    "node.steps[].fatal", "node.marker_dir", "node.fatal_on_error", "app.command", "app.signals",
    "app.watchdog",
    "services.*.command", "services.*.role", "services.*.start", "hooks.on_role_change", "litefs.mode",
    "litefs.binary_path", "litefs.mount_path", "litefs.data_path", "litefs.database_name", "litefs.node_name",
    "litefs.http_addr", "litefs.advertise_url", "litefs.peers", "litefs.lease.type", "litefs.lease.primary",
    "litefs.lease.candidate", "litefs.lease.consul.url", "litefs.lease.consul.key", "litefs.lease.consul.ttl",
    "litefs.lease.consul.lock_delay", "litefs.retention", "litefs.retention_monitor_interval",
    "litefs.compress",
    "litefs.allow_other", "litefs.max_lag", "litefs.min_free_space", "litefs.without_primary",
    "litefs.on_new_release", "litefs.handoff_timeout", "litefs.allow_lossy_promotion", "litefs.extra",
    "forward",
    "health.listen", "health.drain_delay", "health.compat", "log.format", "log.level", "log.prefix",
    "log.timestamps", "log.capture",
  ])
  func contractKeysAreThere(_ path: String) {
    #expect(KeyTable.byPath[path] != nil)
  }
}
