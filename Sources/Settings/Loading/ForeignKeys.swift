/// Keys that other tools have for what is called something else here, or is done somewhere else.
enum ForeignKeys {
  /// What to write instead of a key that is unknown here.
  ///
  /// - Parameter keys: the keys that are known at the same place.
  static func advice(on key: String, keys: some Collection<String>) -> String? {
    let word = key.lowercased().filter { $0 != "_" && $0 != "-" }
    if let ours = names[word], keys.contains(ours) { return "here it is called \(ours)" }
    if let reason = reasons[word], keys.contains("command") || keys.contains("run") { return reason }
    return nil
  }

  private static let names: [String: String] = [
    "env": "environment", "envvars": "environment", "variables": "environment", "workdir": "cwd",
    "workingdir": "cwd", "workingdirectory": "cwd", "directory": "cwd", "chdir": "cwd", "cmd": "command",
    "entrypoint": "command", "exec": "command", "execstart": "command", "run": "command", "command": "run",
    "script": "run", "healthcheck": "ready", "readinessprobe": "ready", "livenessprobe": "ready",
    "startupprobe": "ready", "probe": "ready", "ulimits": "limits", "restartpolicy": "restart",
    "stopsignal": "stop", "stopgraceperiod": "stop", "killsignal": "stop", "kill": "stop", "after": "needs",
    "requires": "needs", "dependson": "needs", "depends": "needs", "tries": "retries", "attempts": "retries",
    "undo": "rollback", "interval": "every", "apps": "app", "main": "app", "processes": "services",
    "programs": "services", "logging": "log", "loglevel": "log", "release": "run_id", "version": "run_id",
  ]

  private static let reasons: [String: String] = [
    "image": "remove it: processes run in this container, with what it contains",
    "build": "remove it: processes run in this container, with what it contains",
    "volumes": "remove it: processes see the files of this container",
    "ports": "remove it: a process opens its ports itself",
    "expose": "remove it: a process opens its ports itself",
    "dependson": "to wait for something that listens, write wait_for: [\"tcp://host:port\"]",
    "after": "to wait for something that listens, write wait_for: [\"tcp://host:port\"]",
    "requires": "to wait for something that listens, write wait_for: [\"tcp://host:port\"]",
    "replicas": "remove it: each service runs once; list it under two names to run it twice",
    "autostart": "remove it: every service is started; start says when",
    "autorestart": "here it is called restart: always, on-failure or never",
    "args": "put the arguments behind the program, as in [program, argument]",
  ]
}
