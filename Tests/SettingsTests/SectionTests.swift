import Testing

@testable import Settings

@Suite struct SectionTests {
  @Test func aProcessWithEverything() throws {
    let settings = try settings(
      """
      services:
        web:
          command: [gunicorn, mysite]
          cwd: /srv
          umask: 027
          user: www:www
          groups: [adm, "4"]
          environment: {A: "1", B: ""}
          limits: {nofile: 65536, core: {soft: 0, hard: unlimited}, as: 2GiB, stack: unlimited}
          restart: on-failure
          backoff: {initial: 1s, maximum: 1m, factor: 1.5, jitter: 0, reset_after: 2m}
          start_limit: {count: 3, within: 1h}
          on_failure: ignore
          success_codes: [0, 3, 143]
          stop: {signal: SIGQUIT, timeout: 7s, kill: leader}
          ready: {exec: [pg_isready], interval: 1s, timeout: 500ms, failures: 2, successes: 4, start_period: 0}
          role: any
          start: before_litefs
      """)
    let web = try #require(settings.services.first)
    #expect(
      web
        == ProcessSettings(
          name: "web", command: .arguments(["gunicorn", "mysite"]), workingDirectory: "/srv", umask: 0o27,
          user: "www:www", groups: ["adm", "4"],
          environment: [
            EnvironmentVariable(name: "A", value: "1"), EnvironmentVariable(name: "B", value: ""),
          ],
          limits: [
            ResourceLimit(name: "nofile", resource: 7, soft: 65536, hard: 65536),
            ResourceLimit(name: "core", resource: 4, soft: 0, hard: .max),
            ResourceLimit(name: "as", resource: 9, soft: 2 << 30, hard: 2 << 30),
            ResourceLimit(name: "stack", resource: 3, soft: .max, hard: .max),
          ], restart: .onFailure,
          backoff: BackoffSettings(
            initial: .seconds(1), maximum: .seconds(60), factor: 1.5, jitter: 0, resetAfter: .seconds(120)),
          startLimit: StartLimit(count: 3, within: .seconds(3600)), onFailure: .ignore,
          successCodes: [0, 3, 143],
          stop: StopSettings(signal: 3, timeout: .seconds(7), kill: .leader), signals: [:],
          healthCheck: HealthCheckSettings(
            probe: .exec(.arguments(["pg_isready"])), interval: .seconds(1), timeout: .milliseconds(500),
            failures: 2,
            successes: 4, startPeriod: .zero), start: .beforeLiteFS))
  }

  /// What only looks wrong: every way to have lock and readiness together.
  @Test(
    arguments: [
      ("{}", .file, .file, ""), ("{lock: postgres}", .postgres, .postgres, ""),
      (
        "{lock: postgres, readiness: postgres, postgres: {url: service=shop}}", .postgres, .postgres,
        "service=shop"
      ),
      ("{lock: postgres, readiness: redis, redis: {url: \"redis://cache\"}}", .postgres, .redis, ""),
      ("{lock: file, readiness: redis, redis: {url: \"redis://cache\"}}", .file, .redis, ""),
    ] as [(String, CoordinationSettings.Backend, CoordinationSettings.ReadinessBackend, String)])
  func lockAndReadiness(
    text: String, lock: CoordinationSettings.Backend, readiness: CoordinationSettings.ReadinessBackend,
    url: String
  ) throws {
    let found = try settings("coordination: \(text)")
    #expect(found.coordination.lock == lock)
    #expect(found.coordination.readiness == readiness)
    #expect(
      found.coordination.postgres == PostgreSQLSettings(url: url, schema: "public", table: "supervisor"))
    #expect(found.coordination.isShared == (text != "{}"))
    #expect(found.coordination.redis?.timeToLive == (readiness == .redis ? .seconds(86400) : nil))
    let shown = found.rendered().filter { $0.key == "coordination.readiness" }
    #expect(shown.map(\.value) == [readiness.rawValue])
  }

  @Test func backendsHaveTheirEnvironmentForms() throws {
    let found = try settings(
      "",
      environment: [
        "SUPERVISOR_COORDINATION_LOCK": "postgres", "SUPERVISOR_COORDINATION_READINESS": "redis",
        "SUPERVISOR_COORDINATION_POSTGRES_URL": "host=db password=hush",
        "SUPERVISOR_COORDINATION_POSTGRES_SCHEMA": "ops", "SUPERVISOR_COORDINATION_POSTGRES_TABLE": "boot",
        "SUPERVISOR_COORDINATION_REDIS_URL": "rediss://:hush@cache",
        "SUPERVISOR_COORDINATION_PROJECT": "shop",
        "SUPERVISOR_COORDINATION_READINESS_KEY_PREFIX": "p", "SUPERVISOR_COORDINATION_READINESS_TTL": "1h",
      ])
    #expect(found.coordination.project == "shop")
    #expect(
      found.coordination.postgres
        == PostgreSQLSettings(url: "host=db password=hush", schema: "ops", table: "boot"))
    #expect(
      found.coordination.redis
        == RedisSettings(url: "rediss://:hush@cache", keyPrefix: "p", key: nil, timeToLive: .seconds(3600)))
    #expect(!found.rendered().contains { $0.value.hasPart("hush") })
  }

  @Test func servicesKeepTheirOrderAndDefaults() throws {
    let settings = try settings(
      "services: {z: {command: a}, a: {command: b, start: before_phases}, m-1_X: {command: c}}")
    #expect(settings.services.map(\.name) == ["z", "a", "m-1_X"])
    #expect(settings.services.map(\.restart) == [.always, .always, .always])
    #expect(settings.services.map(\.start) == [.withApp, .beforePhases, .withApp])
    #expect(settings.services[0].stop.timeout == .seconds(30))
  }

  @Test func signalsAreRemapped() throws {
    let settings = try settings("app: {signals: {USR1: drop, sighup: USR2, RTMIN+1: '15'}}")
    #expect(settings.app.signals == [10: .drop, 1: .send(12), 35: .send(15)])
  }

  @Test func equalSignalsAreFoundUnderAllTheirNames() {
    #expect(
      report("app:\n  signals:\n    USR1: drop\n    SIGUSR1: HUP\n") == [
        "supervisor.yml:4:5: error: app.signals.SIGUSR1: USR1 is set twice; keep one of the two"
      ])
  }

  @Test func stepsInheritFromTheApp() throws {
    let settings = try settings(
      """
      app: {cwd: /app, user: www, groups: [adm], environment: {A: app, B: app}}
      infrastructure:
        on_failure: stop
        steps:
          - name: one
            run: [a]
          - name: two
            description: the second
            run: b c
            cwd: /two
            user: root
            environment: {B: two, C: two}
            timeout: 5m
            retries: 3
            retry_delay: 0
            check: [ok]
            stop: {signal: INT, timeout: 1m}
            on_interrupted: fail
      """)
    #expect(settings.infrastructure.onFailure == .stop)
    let stop = StopSettings(signal: 15, timeout: .seconds(5), kill: .group)
    let app = [EnvironmentVariable(name: "A", value: "app"), EnvironmentVariable(name: "B", value: "app")]
    #expect(
      settings.infrastructure.steps == [
        StepSettings(
          name: "one", description: nil, run: .arguments(["a"]), workingDirectory: "/app", environment: app,
          user: "www", groups: ["adm"], timeout: nil, retries: 0, retryDelay: .seconds(1), check: nil,
          stop: stop,
          isFatal: true, onInterrupted: .rerun),
        StepSettings(
          name: "two", description: "the second", run: .shell("b c"), workingDirectory: "/two",
          environment: [
            EnvironmentVariable(name: "A", value: "app"), EnvironmentVariable(name: "B", value: "two"),
            EnvironmentVariable(name: "C", value: "two"),
          ], user: "root", groups: nil, timeout: .seconds(300), retries: 3, retryDelay: .zero,
          check: .arguments(["ok"]), stop: StopSettings(signal: 2, timeout: .seconds(60), kill: .group),
          isFatal: true, onInterrupted: .fail),
      ])
  }

  @Test(arguments: [(false, [false, true, false]), (true, [true, true, false])] as [(Bool, [Bool])])
  func nodeStepsAreFatalByThemselvesOrByThePhase(_ phase: Bool, _ expected: [Bool]) throws {
    let settings = try settings(
      """
      node:
        fatal_on_error: \(phase)
        marker_dir: /var/markers
        steps:
          - {name: a, run: [x]}
          - {name: b, run: [x], fatal: true}
          - {name: c, run: [x], fatal: false}
      """)
    #expect(settings.node.steps.map(\.isFatal) == expected)
    #expect(settings.node.markerDirectory == "/var/markers")
  }

  @Test func theSameNameMayStandInBothPhases() throws {
    _ = try settings(
      "infrastructure: {steps: [{name: a, run: [x]}]}\nnode: {steps: [{name: a, run: [x]}]}")
  }

  @Test func secretsAreNotShown() throws {
    let settings = try settings(
      """
      environment:
        DJANGO_SECRET_KEY: hush1
        DATABASE_URL: postgres://u:hush2@h/d
        AWS_ACCESS_KEY_ID: hush3
        PGPASSWORD: hush4
        github.token: hush5
        KEYBOARD: qwerty
      app: {command: [x, "--dsn=redis://:hush6@h"]}
      """)
    #expect(settings.environment.count == 6)
    let shown = settings.rendered().map { "\($0.key)=\($0.value)" }
    #expect(!shown.contains { $0.contains("hush") }, "\(shown)")
    #expect(shown.contains("environment.DATABASE_URL=postgres://u:****@h/d"))
    #expect(shown.contains("environment.KEYBOARD=qwerty"))
  }

  @Test func errorsDoNotShowPasswords() {
    let report = report("timeout: ${URL}", environment: ["URL": "postgres://u:hush@h/d"])
    #expect(report.count == 1)
    #expect(report.allSatisfy { !$0.contains("hush") })
  }

  @Test(arguments: ["off", "mount, lease: {primary: n}", "directory"])
  func everythingIsShownOnceInTheOrderOfTheTable(_ mode: String) throws {
    let settings = try settings(
      "services: {a: {command: x}}\nnode: {steps: [{name: n, run: y}]}\nhealth: {listen: ':1'}\n"
        + "run_id: v1\nlitefs: {mode: \(mode)}")
    let keys = settings.rendered().map(\.key)
    #expect(Set(keys).count == keys.count)
    let rows = keys.compactMap { key -> Int? in
      let pattern = key.replacing("services.a", with: "services.*").replacing("[0]", with: "[]")
      return KeyTable.keys.firstIndex { $0.path == pattern }
    }
    #expect(rows.count == keys.count)
    #expect(rows == rows.sorted())
    // Every key with a default that this version acts on is there.
    for key in KeyTable.keys where key.hasFixedPath && key.defaultText != nil && key.availability == .now {
      if mode == "off", key.path.hasPrefix("litefs."), key.path != "litefs.mode" { continue }
      #expect(keys.contains(key.path) || key.path.hasPrefix("app.ready."), "\(key.path)")
    }
  }
}

extension String {
  fileprivate func replacing(_ part: String, with other: String) -> String {
    var result = ""
    var rest = self[...]
    while !rest.isEmpty {
      if rest.hasPrefix(part) {
        result += other
        rest = rest.dropFirst(part.count)
      } else {
        result.append(rest.removeFirst())
      }
    }
    return result
  }
}
