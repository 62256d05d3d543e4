import AgentProtocol
import AgentSupervision
import EventLoop
import Processes
import Settings
import Testing

struct DependencyTests {
  @Test(arguments: [
    ("tcp://db:5432", ProbeTarget.tcp(host: "db", port: 5432)),
    ("tcp://[::1]:80", .tcp(host: "::1", port: 80)),
    ("http://web/health", .http(isSecure: false, host: "web", port: 80, path: "/health")),
    ("https://web:8443?a=b", .http(isSecure: true, host: "web", port: 8443, path: "/?a=b")),
    ("file:/run/ready", .file(path: "/run/ready")), ("sqlite:////data/db", .sqlite(path: "/data/db")),
    ("postgres:///shop?host=/run", .postgres(connection: "postgres:///shop?host=/run")),
    ("rediss://cache:6380/1", .redis(url: "rediss://cache:6380/1")),
  ])
  func `a target of the settings is a probe of its parts`(text: String, target: ProbeTarget) throws {
    #expect(Dependency(try SettingsText.wait(text)) == Dependency(target: target, timeout: nil, text: text))
  }

  @Test(arguments: [
    (ProbeTarget.dns(host: "a"), "dns:a"), (.tcp(host: "::1", port: 80), "tcp://[::1]:80"),
    (.http(isSecure: true, host: "a", port: 443, path: "/x?y"), "https://a/x?y"),
    (.http(isSecure: true, host: "a", port: 80, path: "/"), "https://a:80/"),
    (.http(isSecure: false, host: "::1", port: 8000, path: "/"), "http://[::1]:8000/"),
    (.file(path: "/a b"), "file:/a b"), (.sqlite(path: "/db"), "sqlite:/db"),
    (.postgres(connection: ""), "postgres"), (.postgres(connection: "host=db password=hush"), "postgres"),
    (
      .postgres(connection: "postgresql://shop:hush@db:5432/shop?sslmode=require"),
      "postgresql://db:5432/shop"
    ),
    (.postgres(connection: "postgres://db/shop?password=hush"), "postgres://db/shop"),
    (.postgres(connection: "postgres://shop:hu/#sh@db/shop"), "postgres://db/shop"),
    // Where a careless password ends nobody knows.
    (.postgres(connection: "postgres://shop:hu?sh@db/shop"), "postgres"),
    (.postgres(connection: "postgres://shop:hu@sh@db/shop"), "postgres"),
    (.postgres(connection: "postgres://db/shop?user=a@b&password=hush"), "postgres"),
    (.redis(url: "rediss://:hush@cache:6380/1"), "rediss://cache:6380/1"), (.redis(url: "hush"), "redis"),
  ])
  func `a probe's target reads as in the settings`(target: ProbeTarget, text: String) {
    #expect(target.description == text)
  }

  @Test func `an agent that was chosen is the one, or none is`() throws {
    var environment = ProcessEnvironment(["PATH=/bin:/usr/bin"])
    environment.set(AgentPath.variable, to: "/bin/sh")
    #expect(try AgentPath.find(environment: environment) == "/bin/sh")
    for path in ["/no/such/agent", "/etc/passwd", "/bin"] {
      environment.set(AgentPath.variable, to: RawString(path))
      let missing = #expect(throws: AgentPath.Missing.self) { try AgentPath.find(environment: environment) }
      #expect(missing?.tried == ["\(path) (SUPERVISOR_AGENT)"])
    }
  }
}
