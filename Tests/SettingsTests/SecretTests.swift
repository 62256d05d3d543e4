import Glibc
import Testing

@testable import Settings

/// Secrets: read from files, and shown nowhere. Seed row BF-06.
@Suite struct SecretTests {
  @Test(arguments: [
    ("hush", "hush"), ("hush\n", "hush"), ("hush\r\n", "hush"), ("hush\n\n", "hush\n"), (" hush ", " hush "),
  ])
  func oneLineEndIsTheEditors(_ content: String, _ expected: String) throws {
    let files = try TemporaryFiles()
    let path = try files.write("secret", content)
    #expect(try SecretFile.read(path, .system) == expected)
  }

  @Test(arguments: [
    ("\n", "is empty"), ("a\0b", "is not text"),
    (String(repeating: "x", count: 70_000), "is larger than 64 KiB"),
  ])
  func whatIsNoSecretIsRefused(_ content: String, _ expected: String) throws {
    let files = try TemporaryFiles()
    let path = try files.write("secret", content)
    #expect {
      try SecretFile.read(path, .system)
    } throws: {
      ($0 as? ValueProblem)?.message == "the file \(path) \(expected)"
    }
  }

  @Test func bothTwinsAndMissingFilesAreErrors() throws {
    let files = try TemporaryFiles()
    let good = try files.write("url", "redis://:hush@cache/0\n")
    let bad = try files.write("bad", "hush\n")
    let report = report(
      """
      coordination:
        postgres:
          url: postgres://u:hush@db/n
          url_file: \(good)
        redis: {url_file: /nope/redis_url}
      litefs:
        lease: {consul: {url_file: \(bad)}}
      """)
    #expect(
      report == [
        "supervisor.yml:4:15: error: coordination.postgres.url_file: coordination.postgres.url is set too, at supervisor.yml:3:10; keep one of the two",
        "supervisor.yml:5:21: error: coordination.redis.url_file: the file /nope/redis_url cannot be opened: No such file or directory; check the path, and that the secret is mounted",
        "supervisor.yml:7:30: error: litefs.lease.consul.url_file: does not start with http:// or https://; write for instance http://node-1:20202",
      ])
  }

  @Test func aVariableReplacesTheFilesTwin() {
    let outcome = load(
      "coordination: {redis: {url_file: /nope/redis_url}}",
      environment: ["SUPERVISOR_COORDINATION_REDIS_URL": "redis://:hush@cache/0"])
    guard case .settings(let settings, let notes) = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(notes.isEmpty)
    #expect(settings.coordination.redis?.url == "redis://:hush@cache/0")
    #expect(!settings.rendered().contains { $0.value.hasPart("hush") })
  }

  /// Wrong secrets are described, not quoted.
  @Test(arguments: ["coordination.postgres", "coordination.redis", "litefs.lease.consul"])
  func wrongSecretsAreNotShown(_ section: String) {
    let names = section.split(separator: ".")
    let text = names.map { "{\($0): " }.joined() + "{url: \"hush hush\"}" + names.map { _ in "}" }.joined()
    let report = report(String(text))
    #expect(report.count == 1)
    #expect(!report.contains { $0.hasPart("hush") })
  }

  @Test(arguments: [
    ("postgres://u:hush@h/d", "postgres://u:****@h/d"),
    ("postgres://u:hu/sh@h/d", "postgres://u:****@h/d"),
    ("redis://:hu?sh#@h:1/0", "redis://:****@h:1/0"),
    ("postgres://h/d?password=hush&x=1", "postgres://h/d?password=****&x=1"),
    (#"host=h password='hu\'sh \\' dbname=d"#, "host=h password=****' dbname=d"),
    ("host=h password=hush dbname=d", "host=h password=**** dbname=d"),
    ("host=h password='hu sh' dbname=d", "host=h password=****' dbname=d"),
    ("[tool, \"--PASSWORD=hush\"]", "[tool, \"--PASSWORD=****\"]"),
    ("http://127.0.0.1:8000/@health", "http://127.0.0.1:8000/@health"),
    ("https://u:hush@h/p", "https://u:****@h/p"),
    ("nopassword=x", "nopassword=x"), ("a://b", "a://b"), ("", ""),
  ])
  func passwordsAreMasked(_ text: String, _ expected: String) {
    #expect(maskingPasswords(in: text) == expected)
  }

  @Test func nothingThatIsShownHasAPassword() throws {
    let settings = try settings(
      """
      environment: {DATABASE_URL: "postgres://u:hush@h/d", API_KEY: hush}
      app: {command: [x, "--db=postgres://u:hush@h/d", "password=hush"]}
      infrastructure: {steps: [{name: a, run: "psql postgres://u:hush@h/d"}]}
      """)
    let shown = settings.rendered()
    #expect(!shown.contains { $0.value.hasPart("hush") }, "\(shown)")
    #expect(shown.first { $0.key == "environment.API_KEY" }?.value == "****")
  }

  /// BF-11: the same file in development, with variables on top, differs only there.
  @Test func variablesChangeNothingElse() throws {
    let text = "run_id: v7\ntimeout: 5m\napp: {command: [x], cwd: /srv}\nhealth: {listen: ':8686'}\n"
    let environment = ["SUPERVISOR_RUN_ID": "dev", "SUPERVISOR_HEALTH_LISTEN": "127.0.0.1:0"]
    let production = try settings(text).rendered()
    let development = try settings(text, environment: environment).rendered()
    #expect(production.map(\.key) == development.map(\.key))
    let changed = zip(production, development).filter { $0 != $1 }.map { $1 }
    #expect(changed.map(\.key) == ["run_id", "health.listen"])
    #expect(changed.map(\.value) == ["dev", "127.0.0.1:0"])
    #expect(changed.map(\.origin) == ["SUPERVISOR_RUN_ID", "SUPERVISOR_HEALTH_LISTEN"])
  }
}
