import Foundation
import Testing

@testable import Frameworks

/// The package `autoinit` under deploy/django, with a stand-in for the program it calls.
@Suite(.enabled(if: PythonEnvironment.first != nil, PythonEnvironment.areMissing))
struct ShimTests {
  static let settings = """
    SECRET_KEY = "for tests only"
    INSTALLED_APPS = ["autoinit.apps.AutoinitConfig", "app"]
    DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
    """
  static let app = """
    from django.apps import AppConfig
    from autoinit import AutoInitMixin, AutoInitError

    class App(AppConfig, AutoInitMixin):
        name = "app"
        def handle_node_init(self):
            print("called")
    """
  static let manage = """
    import os, sys
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_.settings")
    from django.core.management import execute_from_command_line
    execute_from_command_line(sys.argv)
    """

  /// A project, and a `supervisor` that says how it was called and ends with $CODE.
  static func directory() throws -> TemporaryDirectory {
    let directory = try project(settings: settings, manage: manage)
    try directory.write("app/__init__.py", "")
    try directory.write("app/apps.py", app)
    try directory.write("bin/supervisor", "#!/bin/sh\necho \"supervisor $*\"\nexit ${CODE:-0}\n")
    try FileManager.default.setAttributes(
      [.posixPermissions: 0o755], ofItemAtPath: directory.path + "/bin/supervisor")
    return directory
  }

  static func run(
    _ python: PythonEnvironment, _ arguments: [String], environment: [String: String] = [:],
    input: String = ""
  ) throws -> Outcome {
    let directory = try directory()
    let base = [
      "PATH": directory.path + "/bin:/usr/bin:/bin", "PYTHONPATH": PythonEnvironment.root + "/deploy/django",
    ]
    return try python.run(
      DjangoProgram(text: input, arguments: arguments), in: directory.path,
      environment: base.merging(environment) { $1 })
  }

  @Test(
    arguments: [
      (["autoinit_infrastructure"], "init infrastructure"),
      (
        ["autoinit_infrastructure", "--run-id", "r 1", "--timeout", "5"],
        "init infrastructure --run-id r 1 --timeout 5s"
      ),
      (["autoinit_node", "--timeout", "0", "--fatal-on-error"], "init node --timeout 0s --fatal-on-error"),
      (["autoinit", "--run-id", "x"], "init --run-id x"),
      (["set_ready", "check", "--run-id", "x"], "ready check --run-id x"),
      (["set_ready", "clear"], "ready clear"),
    ])
  func `the commands are supervisor's`(command: [String], expected: String) throws {
    let python = try #require(PythonEnvironment.first)
    let outcome = try Self.run(python, ["manage.py"] + command, environment: ["CODE": "76"])
    #expect(outcome.output == "supervisor \(expected)\n", "\(outcome.errors)")
    #expect(outcome.status == 76)
  }

  @Test(
    arguments: [
      ("autoinit_infrastructure", 75, "AutoInitTimeoutError"),
      ("autoinit_infrastructure", 76, "AutoInitInfrastructureError"),
      ("autoinit_node", 76, "AutoInitError"), ("autoinit", 70, "AutoInitError"), ("autoinit", 0, "none"),
    ])
  func `called by a program they raise what went wrong`(name: String, code: Int, error: String) throws {
    let python = try #require(PythonEnvironment.first)
    let program = """
      import os
      os.environ["DJANGO_SETTINGS_MODULE"] = "site_.settings"
      import django
      django.setup()
      from django.core.management import call_command
      try:
          call_command("\(name)")
          print("none", flush=True)
      except Exception as error:
          print(type(error).__name__)
      """
    let outcome = try Self.run(python, ["-"], environment: ["CODE": String(code)], input: program)
    #expect(outcome.output.split(separator: "\n").last.map(String.init) == error, "\(outcome.errors)")
  }

  @Test(arguments: ["infrastructure", "node"])
  func `within a phase they refuse to wait for themselves`(phase: String) throws {
    let python = try #require(PythonEnvironment.first)
    let outcome = try Self.run(
      python, ["manage.py", "autoinit"], environment: ["SUPERVISOR_PHASE": phase])
    #expect(outcome.status == 1)
    #expect(outcome.errors.contains("would wait for itself"))
  }

  @Test func `without the program they say so`() throws {
    let python = try #require(PythonEnvironment.first)
    let outcome = try Self.run(python, ["manage.py", "autoinit"], environment: ["PATH": "/usr/bin:/bin"])
    #expect(outcome.status == 1)
    #expect(outcome.errors.contains("supervisor is not in PATH"))
  }

  @Test(arguments: PythonEnvironment.all)
  func `a command becomes the program on every interpreter`(python: PythonEnvironment) throws {
    let outcome = try Self.run(python, ["manage.py", "autoinit"])
    #expect(outcome.output == "supervisor init\n", "\(outcome.errors)")
  }

  @Test(arguments: PythonEnvironment.all)
  func `the mixin's own methods are no hooks`(python: PythonEnvironment) throws {
    let directory = try Self.directory()
    let path = ["PYTHONPATH": PythonEnvironment.root + "/deploy/django"]
    let outcome = try python.run(
      .hooks(.list, settingsModule: "site_.settings"), in: directory.path, environment: path)
    let results = try #require(HookResults.decode(outcome.result))
    #expect(results.hooks.map(\.name) == ["app.handle_node_init"])
    #expect(try python.report(of: directory.path, environment: path).hasApp("autoinit"))
  }
}
