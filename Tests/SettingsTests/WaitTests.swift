import Testing

@testable import Settings

@Suite struct WaitTests {
  struct Target: Sendable, CustomTestStringConvertible {
    var text: String
    var expected: WaitTarget
    var testDescription: String { text }

    init(_ text: String, _ expected: WaitTarget) {
      self.text = text
      self.expected = expected
    }
  }

  static func url(
    _ host: String, _ port: UInt16, _ authority: String, _ path: String, isSecure: Bool = false
  ) -> WaitTarget {
    .http(WaitURL(isSecure: isSecure, host: host, port: port, authority: authority, path: path))
  }

  @Test(arguments: [
    Target("tcp://rabbitmq:5672", .tcp(host: "rabbitmq", port: 5672)),
    Target("tcp://127.0.0.1:80", .tcp(host: "127.0.0.1", port: 80)),
    Target("tcp://[::1]:80", .tcp(host: "::1", port: 80)),
    Target("tcp://my_db.svc.local:65535", .tcp(host: "my_db.svc.local", port: 65535)),
    Target("http://web", url("web", 80, "web", "/")),
    Target("https://web/a?b=c", url("web", 443, "web", "/a?b=c", isSecure: true)),
    Target("HTTP://[::1]:8000?x", url("::1", 8000, "[::1]:8000", "/?x")),
    Target("file:/run/ready", .file(path: "/run/ready")),
    Target("file:///run/ready", .file(path: "/run/ready")),
    Target("sqlite:/data/db.sqlite3", .sqlite(path: "/data/db.sqlite3")),
    Target("sqlite:////data/db.sqlite3", .sqlite(path: "/data/db.sqlite3")),
    Target("postgres", .postgres(url: nil)),
    Target("redis", .redis(url: nil)),
    Target("postgres://u:p@db/name", .postgres(url: "postgres://u:p@db/name")),
    Target("postgresql:///name?host=/run", .postgres(url: "postgresql:///name?host=/run")),
    Target("rediss://:p@cache:6380/1", .redis(url: "rediss://:p@cache:6380/1")),
  ])
  func targets(_ target: Target) throws {
    #expect(try WaitTarget(settingsText: target.text) == target.expected)
  }

  struct Wrong: Sendable, CustomTestStringConvertible {
    var text: String
    var expected: String
    var testDescription: String { text }

    init(_ text: String, _ expected: String) {
      self.text = text
      self.expected = expected
    }
  }

  @Test(arguments: [
    Wrong("db:5432", "\"db:5432\" has no scheme; write tcp://db:5432"),
    Wrong(
      "mysql://db",
      "nothing is known about \"mysql\" targets; write for instance tcp://db:5432, http://web:8000/health or file:/run/ready"
    ),
    Wrong("htp://web", "nothing is known about \"htp\" targets; did you mean http:?"),
    Wrong("postgers", "\"postgers\" cannot be waited for; did you mean postgres?"),
    Wrong("/run/ready", "\"/run/ready\" cannot be waited for; write file:/run/ready"),
    Wrong("tcp:db:80", "\"tcp:db:80\" has no '//'; write for instance tcp://db:5432"),
    Wrong("tcp://db", "\"tcp://db\" has no port; write for instance tcp://db:5432"),
    Wrong("tcp://:80", "\"tcp://:80\" has no host; write for instance tcp://db:5432"),
    Wrong("tcp://db:99999", "\"99999\" is not a port; write a number from 1 to 65535"),
    Wrong("tcp://d b:1", "\"d b\" is not a host name; use letters, digits, '-' and '.', or an address"),
    Wrong(
      "tcp://u:secret@db:1", "a tcp target cannot have a user or password; write for instance tcp://db:5432"),
    Wrong(
      "http://u:secret@web", "a URL to wait for cannot have a user or password; let its path answer without"),
    Wrong("http://web/#a", "a URL to wait for cannot have a '#' part; remove it"),
    Wrong("file:ready", "\"file:ready\" is not an absolute path; write for instance file:/run/app/ready"),
    Wrong(
      "file://host/ready",
      "\"file://host/ready\" names a host, and the file must be on this one; write for instance file:/run/app/ready"
    ),
    Wrong("redis://", "has no host; write for instance redis://cache:6379/0"),
    Wrong(
      "postgres:x",
      "does not start with postgres:// or postgresql://; write for instance postgres://user@db:5432/name"),
  ])
  func wrongTargets(_ wrong: Wrong) {
    let report = report("wait_for:\n  - \"\(wrong.text)\"\n")
    #expect(report == ["supervisor.yml:2:5: error: wait_for[0]: \(wrong.expected)"])
  }

  @Test func dependenciesOfEverybodyAndOfOneProcess() throws {
    let settings = try settings(
      """
      wait_for: ["tcp://db:5432", {target: "file:/run/ready", timeout: 90}]
      app: {wait_for: ["http://web/"]}
      services: {worker: {command: [x], wait_for: ["tcp://rabbitmq:5672"]}}
      """)
    #expect(settings.dependencies.map(\.text) == ["tcp://db:5432", "file:/run/ready"])
    #expect(settings.dependencies.map(\.timeout) == [nil, .seconds(90)])
    #expect(settings.app.dependencies.map(\.text) == ["http://web/"])
    #expect(settings.services[0].dependencies.map(\.target) == [.tcp(host: "rabbitmq", port: 5672)])
    #expect(
      settings.entries.first { $0.key == "wait_for" }?.value
        == "[\"tcp://db:5432\", {target: \"file:/run/ready\", timeout: 1m30s}]")
  }

  @Test func wrongShapes() {
    let report = report(
      """
      wait_for:
        - postgres
        - "postgres://u:secret @db/n"
        - {target: redis, timeout: soon}
        - {timeot: 5s}
        - [x]
      """)
    #expect(
      report == [
        "supervisor.yml:3:5: error: wait_for[1]: has a space in it; escape it as in %20",
        "supervisor.yml:4:30: error: wait_for[2].timeout: \"soon\" is not a duration; write for instance 90s, 1h30m, 250ms, or whole seconds",
        "supervisor.yml:5:5: error: wait_for[3]: does not say what to wait for; write {target: \"tcp://db:5432\", timeout: 30s}",
        "supervisor.yml:5:6: error: wait_for[3].timeot: unknown key; did you mean timeout?",
        "supervisor.yml:6:5: error: wait_for[4]: must be a single value, not a list",
      ])
  }

  /// `postgres` and `redis` are what `coordination` says, wherever the entry stands.
  @Test func backendsAreThoseOfCoordination() throws {
    let settings = try settings(
      """
      wait_for: [postgres, redis, "redis://other"]
      coordination: {postgres: {url: "postgres://u:hush@db/n"}, redis: {url: "redis://:hush@cache/2"}}
      infrastructure: {steps: [{name: a, wait_for: redis}]}
      app: {wait_for: [{target: postgres, timeout: 5s}]}
      """)
    let postgres = WaitTarget.postgres(url: "postgres://u:hush@db/n")
    let redis = WaitTarget.redis(url: "redis://:hush@cache/2")
    #expect(settings.dependencies.map(\.target) == [postgres, redis, .redis(url: "redis://other")])
    #expect(settings.dependencies.map(\.text) == ["postgres", "redis", "redis://other"])
    #expect(settings.infrastructure.steps.map(\.wait?.target) == [redis])
    #expect(settings.app.dependencies.map(\.target) == [postgres])
    #expect(settings.app.dependencies.map(\.timeout) == [.seconds(5)])
    #expect(!settings.rendered().contains { $0.value.hasPart("hush") })
  }

  @Test func postgresWithoutAURLIsTheEnvironments() throws {
    #expect(try settings("wait_for: [postgres]").dependencies.map(\.target) == [.postgres(url: nil)])
  }

  @Test func rolesAndHooks() throws {
    let settings = try settings(
      """
      framework: {name: django, python: python3, settings_module: mysite.settings, databases: [default, other]}
      coordination: {project: shop, retry_after: 20s, takeover_delay: 0}
      services: {beat: {command: [x], role: primary}, web: {command: [y], role: any}}
      hooks: {on_role_change: [tell, everybody]}
      log: {format: json}
      """)
    #expect(
      settings.framework
        == FrameworkSettings(
          name: .django, python: "python3", settingsModule: "mysite.settings",
          databases: ["default", "other"]))
    #expect(settings.coordination.project == "shop")
    #expect(settings.coordination.retryAfter == .seconds(20))
    #expect(settings.coordination.takeoverDelay == .zero)
    #expect(settings.services.map(\.role) == [.primary, .any])
    #expect(settings.hooks.onRoleChange == .arguments(["tell", "everybody"]))
    #expect(settings.log.format == .json)
  }
}
