// The keys of LiteFS; of the write forwarder there is only the name, so that a file written for a later version says
// what is missing instead of "unknown key".

extension KeyTable {
  static let hooks: [KeyDescription] = [
    key("hooks.on_role_change", .command, "runs when this node's role changes")
  ]

  static let litefs: [KeyDescription] = [
    row(
      "mode", choice("off", "mount", "directory", "external"), default: "off",
      "mount: we run LiteFS; directory: one node, no FUSE, always primary; external: a sidecar runs it"),
    row("binary_path", path, default: "litefs", "the litefs program; a name is searched for in PATH"),
    row("mount_path", absolutePath, default: "/litefs", "where the databases are"),
    row("data_path", absolutePath, default: "/var/lib/litefs", "LiteFS's own files"),
    row("database_name", label, default: "db.sqlite3", "the app's database"),
    row("node_name", label, "this node; LITEFS_NODE_ID or the host name when not set"),
    row("http_addr", .listenAddress, default: ":20202", "LiteFS's API"),
    row(
      "advertise_url", .text(.webURL),
      "LiteFS's API as others reach it, {node} for the node's name; http://{node}: and http_addr's port when not set"
    ),
    row("peers", .texts(.webURL), "API URLs of the other nodes; by themselves with Consul"),
    row(
      "lease.type",
      choice(
        "static", "consul",
        later: ["etcd": leaseWork, "kubernetes": leaseWork, "postgres": leaseWork], never: ["raft": noRaft]),
      default: "static", "how the primary is chosen"),
    row("lease.primary", label, "static: the primary's node name"),
    row(
      "lease.candidate", .boolean, default: "true",
      "whether this node may become the primary, with a lease that moves"),
    key("litefs.lease.consul.url", .text(.webURL), "Consul's URL", secret: true),
    row("lease.consul.url_file", path, "file with Consul's URL"),
    row("lease.consul.key", label, default: "litefs/{project}", "the key of the lease"),
    row("lease.consul.ttl", positiveDuration, default: "10s", "life of the lease, at least 10s"),
    row("lease.consul.lock_delay", positiveDuration, default: "1s", "pause after a lost lease"),
    row(
      "retention", durationOr("forever"), default: "1h",
      "how long transaction files are kept"),
    row("retention_monitor_interval", positiveDuration, default: "1m", "how often they are pruned"),
    row("compress", .boolean, default: "true", "compress transaction files"),
    row(
      "allow_other", choice("auto", "true", "false"), default: "auto",
      "other users may use the mount; auto: when a child runs as one"),
    row("max_lag", positiveDuration, default: "10s", "a replica further behind is not ready; more than 1s"),
    row(
      "min_free_space", .size, default: "64MiB", "with less free space for data_path the node is not ready"),
    row(
      "without_primary", .duration(atLeast: .zero, words: ["ready", "not_ready"]), default: "60s",
      "how long a node stays ready without a primary"),
    row(
      "on_new_release", choice("takeover", "start", "wait"),
      "what a node of a new release does; takeover with a dynamic lease, start with a static one when not set"
    ),
    row("handoff_timeout", positiveDuration, default: "30s", "how long a hand-off may take"),
    row("allow_lossy_promotion", .boolean, default: "false", "take the lease even if commits are lost"),
    row("extra", .map(words: []), "merged into litefs.yml, for what no key here has"),
    key(
      "forward", .map(words: ["off"]), default: "off", "the write forwarder", .later("the write forwarder")),
  ]

  static let leaseWork = "further kinds of leases"
  private static let noRaft = ValueType.Refusal(
    reason: "is no lease: LiteFS knows no raft",
    advice: "write static with lease.primary, or consul for a primary that moves")

  private static func row(
    _ name: String, _ type: ValueType, default defaultText: String? = nil, _ summary: String
  ) -> KeyDescription {
    key("litefs.\(name)", type, default: defaultText, summary)
  }
}
