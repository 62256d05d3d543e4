import Foundation
import Testing

@testable import Frameworks

/// The settings program, on real interpreters.
@Suite(.enabled(if: PythonEnvironment.first != nil, PythonEnvironment.areMissing))
struct SettingsProgramTests {
  var python: PythonEnvironment {
    get throws { try #require(PythonEnvironment.first) }
  }

  static let full = """
    import os
    from pathlib import Path
    from django.utils.translation import gettext_lazy
    from site_.part import TIMEOUT
    import subprocess
    subprocess.run(["true"], check=True)
    print("noise on stdout")
    os.write(1, bytes(range(256)))
    INSTALLED_APPS = ["autoinit", "django.contrib.staticfiles"]
    STATIC_ROOT = Path("/srv/static")
    AUTOINIT_TIMEOUT_SEC = TIMEOUT
    AUTOINIT_RUN_ID = os.environ.get("MY_RELEASE")
    AUTOINIT_ODD = object()
    DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "app", "HOST": "db", "PORT": 5432,
                             "USER": "me", "PASSWORD": "known-database",
                             "OPTIONS": {"sslmode": "require", "connect_timeout": 5, "options": "-c x=hunter2"}},
                 "other": {"ENGINE": "django.db.backends.postgresql", "PASSWORD": "hunter2-other"},
                 "old": {"ENGINE": "django.db.backends.mysql", "PASSWORD": "hunter2-old"}}
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "KEY_PREFIX": "p", "VERSION": 2,
                          "LOCATION": ["redis://one:6379/1", "redis://two:6379/1"],
                          "OPTIONS": {"db": 4, "parser_class": object, "pool": {}}}}
    AUTOINIT_READINESS_KEY_PREFIX = "x:y"
    loop = {}
    loop["LOOP"] = loop
    LITEFS = {"MOUNT_PATH": Path("/litefs"), "NAME": gettext_lazy("a b"), "LOOP": loop, 3: 1.5,
              "RAFT_PEERS": ("a", "b"), "DEEP": {"SET": {"only"}}}
    with open(os.path.join(os.path.dirname(__file__), "values.json")) as file:
        file.read()
    SECRET_KEY = "hunter2-secret"
    """

  @Test(arguments: PythonEnvironment.all)
  func `settings are reported as they are`(python: PythonEnvironment) throws {
    let directory = try project(settings: Self.full)
    try directory.write("site_/part.py", "TIMEOUT = 7\n")
    try directory.write("site_/values.json", "{}")
    let outcome = try python.run(.settings(), in: directory.path)
    let report = try DjangoReport.decode(outcome.result, ending: "status \(outcome.status)")
    #expect(outcome.status == 0)
    #expect(outcome.output.isEmpty, "what settings print goes to standard error")
    #expect(outcome.errors.contains("noise on stdout"))
    #expect(report.pythonVersion == python.pythonVersion)
    #expect(report.djangoVersion == python.djangoVersion)
    #expect(report.hasManagePy)
    #expect(report.settingsModule == "site_.settings")
    #expect(report.settingsModuleOrigin == "manage.py")
    #expect(report.directory == directory.path)
    #expect(report.installedApps == ["autoinit", "django.contrib.staticfiles"])
    #expect(report.hasStaticFiles)
    #expect(report.hasApp("autoinit"))
    #expect(report.setting("STATIC_ROOT") == .text("/srv/static"))
    #expect(report.setting("AUTOINIT_TIMEOUT_SEC") == .integer(7))
    #expect(report.setting("AUTOINIT_RUN_ID") == PythonValue.none)
    #expect(report.setting("AUTOINIT_ODD") == .other("builtins.object"))
    #expect(report.databases.map(\.key) == ["default", "other", "old"])
    #expect(report.databases.first?.value["PASSWORD"] == .text("known-database"))
    #expect(
      report.databases.first?.value["OPTIONS"]
        == .map([PythonValue.Entry(key: "sslmode", value: .text("require"))]))
    #expect(report.databases.last?.value["OPTIONS"] == nil)
    #expect(report.databases.first?.value["PORT"] == .integer(5432))
    #expect(!outcome.resultText.contains("hunter2"))
    let cache = try #require(report.caches.first?.value)
    #expect(cache["LOCATION"] == .list([.text("redis://one:6379/1"), .text("redis://two:6379/1")]))
    #expect(cache["OPTIONS"]?["db"] == .integer(4))
    #expect(cache["OPTIONS"]?["pool"] == nil)
    #expect(cache["KEY_FUNCTION"] == .boolean(false))
    #expect(report.redisKey == "p:2:x:y:{run_id}")
    #expect(report.redisRunKey == nil)
    let litefs = try #require(report.setting("LITEFS"))
    #expect(litefs["MOUNT_PATH"] == .text("/litefs"))
    #expect(litefs["3"] == .number(1.5))
    #expect(litefs["RAFT_PEERS"] == .list([.text("a"), .text("b")]))
    #expect(litefs["DEEP"]?["SET"] == .list([.text("only")]))
    if case .other? = litefs["NAME"] {} else { Issue.record("a lazy text has no form of its own") }
    #expect(report.skipped.isEmpty)
    let names = report.files.map(\.path)
    for name in ["manage.py", "site_/__init__.py", "site_/settings.py", "site_/part.py", "site_/values.json"]
    {
      #expect(names.contains(directory.path + "/" + name))
    }
    // Django itself and the interpreter too, but not the libraries one by one.
    #expect(names.count == 7, "\(names)")
    #expect(report.files.allSatisfy { $0.state != nil })
    #expect(report.variables.contains("MY_RELEASE"))
    #expect(report.isUncacheableBecause == nil)
  }

  /// The key of a release is the cache's own, also where its KEY_FUNCTION leaves nothing of the run ID.
  @Test(
    arguments: [
      (("v7", false), "None", "v7"), (("dev-1", true), "None", "dev-1"), (("dev-1", true), "'own'", "own"),
      (("v7", false), "'own'", "v7"), (nil, "'own'", "own"), (nil, "None", nil),
    ] as [((value: String, isDevelopment: Bool)?, String, String?)])
  func `the key of a release is asked of the cache`(
    runID: (value: String, isDevelopment: Bool)?, own: String, expected: String?
  ) throws {
    let directory = try project(
      settings: """
        import hashlib
        def make_key(key, prefix, version):
            return hashlib.md5(key.encode()).hexdigest()
        AUTOINIT_RUN_ID = \(own)
        INSTALLED_APPS = ["autoinit"]
        CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "KEY_FUNCTION": make_key,
                              "LOCATION": "redis://one:6379/1"}}
        """)
    let outcome = try python.run(.settings(runID: runID), in: directory.path)
    let report = try DjangoReport.decode(outcome.result, ending: "status \(outcome.status)")
    #expect(report.redisRunKey?.runID == expected)
    let digests = [
      "v7": "5113bccf8d8be26b37ba2c30e4b022f2", "dev-1": "c508525b887e12a4a7b065a82c568aed",
      "own": "8c66d70103037d73f83cb8679c67041a",
    ]
    #expect(report.redisRunKey?.key == expected.flatMap { digests[$0] })
    #expect(report.settingsModule == "site_.settings")
  }

  /// Where the name of the settings module may stand.
  @Test(
    arguments: [
      (["manage.py": "import os\nos.environ['DJANGO_SETTINGS_MODULE'] = 'site_.settings'"], "manage.py"),
      (
        [
          "manage.py":
            "from os import environ\nenviron.setdefault('DJANGO_SETTINGS_MODULE', 'site_.settings')"
        ], "manage.py"
      ),
      (["manage.py": "pass", "site_/wsgi.py": Project.manage], "site_/wsgi.py"),
      (["site_/wsgi.py": Project.manage], "site_/wsgi.py"),
      (["site_/asgi.py": Project.manage], "site_/asgi.py"),
      (["wsgi.py": Project.manage, "site_/asgi.py": "broken("], "wsgi.py"),
    ])
  func `the settings module is found without running anything`(files: [String: String], origin: String) throws
  {
    let directory = try project(settings: "", manage: nil)
    for (name, text) in files { try directory.write(name, text) }
    let report = try python.report(of: directory.path)
    #expect(report.settingsModule == "site_.settings")
    #expect(report.settingsModuleOrigin == origin)
    #expect(report.hasManagePy == (files["manage.py"] != nil))
    #expect(!report.hasStaticFiles)
  }

  @Test func `the environment goes before the setting, and that before manage.py`() throws {
    let directory = try project(settings: "")
    try directory.write("other.py", "")
    try directory.write("third.py", "")
    let set = try python.report(of: directory.path, settingsModule: "other")
    #expect(set.settingsModule == "other")
    #expect(set.settingsModuleOrigin == "setting")
    let variable = ["DJANGO_SETTINGS_MODULE": "third"]
    let given = try python.report(of: directory.path, settingsModule: "other", environment: variable)
    #expect(given.settingsModule == "third")
    #expect(given.settingsModuleOrigin == "environment")
  }

  /// Settings that fail: the kind, a part of the message, the line.
  static let broken: [(String, DjangoFailure.Kind, String, Int)] = [
    ("x = 1\nimport missing_library\n", .settingsFailed, "No module named 'missing_library'", 2),
    ("x = 1\n\nx = (\n", .settingsFailed, "SyntaxError: ", 3),
    ("import json\njson.loads('x')\n", .settingsFailed, "JSONDecodeError: ", 2),
    ("raise SystemExit(0)\n", .settingsExit, "sys.exit(0)", 1),
    ("import sys\nsys.exit('no')\n", .settingsExit, "sys.exit('no')", 2),
    ("import os\nos.environ['NEEDED']\n", .settingsFailed, "KeyError: 'NEEDED'", 2),
    ("def f():\n  raise RuntimeError('a\\nb\\x1b')\nf()\n", .settingsFailed, "RuntimeError: a b", 2),
    ("raise KeyboardInterrupt\n", .settingsFailed, "KeyboardInterrupt", 1),
    ("from site_ import deeper\n", .settingsFailed, "ZeroDivisionError", 2),
    ("class E(BaseException):\n  def __str__(self): raise self\nraise E\n", .settingsFailed, "E", 3),
    ("x = 1\nINSTALLED_APPS = 'one'\n", .settingsFailed, "INSTALLED_APPS", 0),
  ]

  @Test(arguments: broken)
  func `a broken settings module says what and where`(
    source: String, kind: DjangoFailure.Kind, message: String, line: Int
  ) throws {
    let directory = try project(settings: source)
    try directory.write("site_/deeper.py", "x = 1\nx / 0\n")
    let outcome = try python.run(.settings(), in: directory.path)
    let failure = #expect(throws: DjangoFailure.self) {
      _ = try DjangoReport.decode(outcome.result, ending: "status \(outcome.status)")
    }
    #expect(outcome.status == 1)
    #expect(failure?.kind == kind)
    #expect(failure?.message.contains(message) == true, "\(failure?.message ?? "")")
    if line > 0 {
      let file = source.contains("deeper") ? "deeper.py" : "settings.py"
      #expect(failure?.file == directory.path + "/site_/" + file)
      #expect(failure?.line == line)
      #expect(
        failure?.description.hasPrefix("\(directory.path)/site_/\(file):\(line): the settings module") == true
      )
    }
    #expect(failure?.settingsModule == "site_.settings")
  }

  @Test(
    arguments: [
      (nil, [:], .noSettingsModule, "there is no manage.py"),
      ("pass", [:], .noSettingsModule, "neither manage.py nor a wsgi.py names it"),
      ("def main(:", [:], .manageUnreadable, "SyntaxError"),
      ("\u{0}\u{1}\u{7F}ELF", [:], .manageUnreadable, "null bytes"),
      (
        Project.manage.replacing("\"site_.settings\"", with: "NAME"), [:], .noSettingsModule,
        "it is computed there"
      ),
      (
        Project.manage + "\n" + Project.manage.replacing("site_", with: "b"), [:], .noSettingsModule,
        "it may be any of b.settings, site_.settings"
      ),
      (Project.manage, ["DJANGO_SETTINGS_MODULE": "site_.settinsg"], .settingsNotFound, "site_.settinsg"),
      (Project.manage, ["DJANGO_SETTINGS_MODULE": "nothere.settings"], .settingsNotFound, "nothere"),
      (Project.manage, ["PYTHONPATH": "broken"], .noDjango, "RuntimeError: no"),
    ] as [(String?, [String: String], DjangoFailure.Kind, String)])
  func `a project that cannot be asked says why`(
    manage: String?, environment: [String: String], kind: DjangoFailure.Kind, message: String
  ) throws {
    let directory = try project(settings: "", manage: manage)
    try directory.write("broken/django/__init__.py", "raise RuntimeError('no')")
    let failure = #expect(throws: DjangoFailure.self) {
      _ = try python.report(of: directory.path, environment: environment)
    }
    #expect(failure?.kind == kind)
    #expect(failure?.message.contains(message) == true, "\(failure?.message ?? "")")
    #expect(failure?.description.isEmpty == false)
  }

  @Test func `an interpreter without Django says so`() throws {
    let directory = try project(settings: "")
    let bare = PythonEnvironment(name: "bare", python: "/usr/bin/env", pythonVersion: "", djangoVersion: "")
    var program = DjangoProgram.settings()
    // -S: without the environment's own packages.
    program.arguments = [try python.python, "-S"] + program.arguments
    let outcome = try bare.run(program, in: directory.path)
    let failure = #expect(throws: DjangoFailure.self) {
      _ = try DjangoReport.decode(outcome.result, ending: "")
    }
    #expect(failure?.kind == .noDjango)
    #expect(failure?.description.contains("framework.python") == true)
  }

  @Test(arguments: ["os._exit(0)", "os.kill(os.getpid(), 9)", "os.abort()"])
  func `settings that end the process leave no report`(statement: String) throws {
    let directory = try project(
      settings: "import os, resource\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n" + statement)
    let outcome = try python.run(.settings(), in: directory.path)
    let failure = #expect(throws: DjangoFailure.self) {
      _ = try DjangoReport.decode(outcome.result, ending: "status \(outcome.status)")
    }
    #expect(failure?.kind == .noResult)
    #expect(
      failure?.message
        == "reading the settings module site_.settings came to no end (status \(outcome.status)); its last output says more"
    )
  }

  @Test func `no app is set up: a database on LiteFS would fail before the mount is there`() throws {
    let directory = try project(
      settings: """
        INSTALLED_APPS = ["boom"]
        DATABASES = {"default": {"ENGINE": "litefs_django.db.backends.litefs", "NAME": "db.sqlite3"}}
        LITEFS = {"MOUNT_PATH": "/nowhere"}
        """)
    try directory.write("boom/__init__.py", "raise RuntimeError('set up')")
    let report = try python.report(of: directory.path)
    #expect(report.installedApps == ["boom"])
    #expect(report.setting("LITEFS")?["MOUNT_PATH"] == .text("/nowhere"))
  }

  @Test func `a file that was looked for in vain counts too`() throws {
    let directory = try project(
      settings: "try:\n  open('local.env')\nexcept OSError:\n  pass\nopen('/proc/self/stat').close()\n")
    let report = try python.report(of: directory.path)
    #expect(
      report.files.contains(DjangoReport.FileStamp(path: directory.path + "/local.env", state: nil)))
    #expect(!report.files.contains { $0.path.hasPrefix("/proc") })
  }
}
