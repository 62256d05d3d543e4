import Foundation
import Testing

/// `supervisor settings import-django`, in projects of Tests/Fixtures and made for a test.
@Suite("settings import-django", .needsDjango)
struct SettingsImportTests {
  private func importing(
    in directory: String, options: String = "", path: String? = ProjectPython.folder
  ) throws -> (code: Ending?, output: String, errors: String) {
    // Nothing is written beside the project.
    let script =
      "cd \(directory) && PYTHONDONTWRITEBYTECODE=1 PATH=\(path ?? "/nowhere"):/usr/bin:/bin "
      + "exec \(Programs.supervisor) settings import-django \(options)"
    return try Stage.run(Launch(["/bin/sh", "-c", script])) { stage in
      let ending = try stage.waitForEnd()
      return (ending, stage.output.text, stage.errors.text)
    }
  }

  @Test("AI-29: the hooks of both phases are listed in the order of INSTALLED_APPS")
  func hooksAreListedInOrder() throws {
    let (code, output, errors) = try importing(
      in: ProjectPython.root + "/Tests/Fixtures/probe", options: "--show-hooks")
    #expect(code == .exited(0), "\(errors)")
    let hooks = output.split(separator: "\n").filter {
      $0.hasPrefix("#   infrastructure") || $0.hasPrefix("#   node")
    }
    #expect(
      hooks.map { $0.split(separator: " ").dropFirst().prefix(3).joined(separator: " ") } == [
        "infrastructure 1: first.handle_infrastructure_init",
        "infrastructure 2: second.handle_infrastructure_init",
        "infrastructure 3: third.handle_infrastructure_init", "node 1: first.handle_node_init",
        "node 2: second.handle_node_init", "node 3: third.handle_node_init",
      ])
  }

  @Test func thePageIsASettingsFile() throws {
    try withTemporaryDirectory { folder in
      try writeFile(
        folder + "/manage.py", "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'conf')\n")
      try writeFile(
        folder + "/conf.py", "print('noise')\nAUTOINIT_TIMEOUT_SEC = 77\nAUTOINIT_MARKER_DIR = 'here'\n")
      let (code, output, errors) = try importing(in: folder)
      #expect(code == .exited(0), "\(errors)")
      #expect(errors == "noise\n")
      try writeFile(folder + "/supervisor.yml", output)
      let script =
        "cd \(folder) && PYTHONDONTWRITEBYTECODE=1 PATH=\(ProjectPython.folder ?? ""):/usr/bin:/bin "
        + "exec \(Programs.supervisor) settings show"
      try Stage.run(Launch(["/bin/sh", "-c", script])) { stage in
        let ending = try stage.waitForEnd()
        #expect(ending == .exited(0))
        #expect(stage.output.text.contains("timeout: 1m17s") || stage.output.text.contains("timeout: 77s"))
        #expect(stage.output.text.contains("node.marker_dir: \(folder)/here"))
      }
    }
  }

  @Test("a project on PostgreSQL and Redis: what is needed to reach them is taken over, and shown nowhere")
  func servers() throws {
    try withTemporaryDirectory { folder in
      try writeFile(
        folder + "/manage.py", "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'conf')\n")
      try writeFile(
        folder + "/conf.py",
        """
        import hashlib
        INSTALLED_APPS = ['autoinit']
        DATABASES = {'default': {'ENGINE': 'django.db.backends.postgresql', 'NAME': 'shop', 'HOST': 'db', 'USER': 'me',
                                 'PASSWORD': "hu'sh", 'OPTIONS': {'sslmode': 'require'}}}
        CACHES = {'default': {'BACKEND': 'django.core.cache.backends.redis.RedisCache',
                              'LOCATION': 'redis://:hush@cache:6379/1',
                              'KEY_FUNCTION': lambda key, prefix, version: hashlib.md5(key.encode()).hexdigest()}}

        """)
      let page = try importing(in: folder)
      #expect(page.code == .exited(0), "\(page.errors)")
      #expect(page.output.contains("  lock: postgres   # django: DATABASES[\"default\"]\n"), "\(page.output)")
      #expect(page.output.contains("  readiness: redis   # django: CACHES[\"default\"]\n"), "\(page.output)")
      // With the page as settings, and without any, it is the same.
      for text in [page.output, "{}\n"] {
        try writeFile(folder + "/supervisor.yml", text)
        let script =
          "cd \(folder) && PYTHONDONTWRITEBYTECODE=1 PATH=\(ProjectPython.folder ?? ""):/usr/bin:/bin "
          + "SUPERVISOR_RUN_ID=v7 SUPERVISOR_STATE_DIR=\(folder)/state exec \(Programs.supervisor) settings show"
        let shown = try Stage.result(Launch(["/bin/sh", "-c", script]))
        #expect(shown.ending == .exited(0), "\(shown.output)")
        for line in [
          "coordination.lock: postgres  (", "coordination.readiness: redis  (",
          "coordination.postgres.url: ****  (",
          "coordination.redis.url: ****  (",
          // md5 of autoinit:ready:v7
          "coordination.readiness_key_prefix: 5113bccf8d8be26b37ba2c30e4b022f2 (the whole key)  (django: CACHES)\n",
        ] {
          #expect(shown.output.contains(line), "\(line): \(shown.output)")
        }
        for said in [page.output, page.errors, shown.output, shown.errors] {
          #expect(!said.contains("hush") && !said.contains("hu'sh") && !said.contains("hu\\'sh"))
        }
      }
    }
  }

  @Test func aProjectThatCannotBeAskedIsAnErrorOfSettings() throws {
    try withTemporaryDirectory { folder in
      let missing = try importing(in: folder)
      #expect(missing.code == .exited(78))
      #expect(missing.errors.contains("there is no manage.py"))
      try writeFile(folder + "/conf.py", "x = 1\nimport nothing_like_it\n")
      let broken = try importing(in: folder, options: "--settings-module conf")
      #expect(broken.code == .exited(78))
      #expect(
        broken.errors.contains(
          "supervisor: \(folder)/conf.py:2: the settings module conf fails: ModuleNotFoundError: "))
      let nobody = try importing(in: folder, options: "--python /nowhere/python")
      #expect(nobody.code == .exited(78))
      #expect(nobody.errors.contains("no Python interpreter was found: looked for /nowhere/python"))
      try writeFile(folder + "/conf.py", "AUTOINIT_TIMEOUT_SEC = 'soon'\n")
      let wrong = try importing(in: folder, options: "--settings-module conf")
      #expect(wrong.code == .exited(78))
      #expect(
        wrong.errors.contains("error: django: AUTOINIT_TIMEOUT_SEC: \"soon\" is not a number of seconds"))
    }
  }
}
