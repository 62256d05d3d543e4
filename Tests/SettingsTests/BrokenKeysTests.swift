import Testing

@testable import Settings

/// Files with keys and shapes that make no sense.
@Suite struct BrokenKeysTests {
  @Test(arguments: [
    BrokenFile(
      "unknown top key",
      "tiemout: 5s\n",
      [
        "1:1: error: tiemout: unknown key; did you mean timeout?"
      ]),
    BrokenFile(
      "key of another place",
      "listen: \":80\"\n",
      [
        "1:1: error: listen: unknown key; did you mean health.listen?"
      ]),
    BrokenFile(
      "steps at the top",
      "steps: []\n",
      [
        "1:1: error: steps: unknown key; did you mean infrastructure.steps or node.steps?"
      ]),
    BrokenFile(
      "unknown key in app",
      "app:\n  comand: [x]\n",
      [
        "2:3: error: app.comand: unknown key; did you mean command?"
      ]),
    BrokenFile(
      "a primary's service before the primary is known",
      "services:\n  beat: {command: [a], role: primary, start: before_phases}\n",
      [
        "2:46: error: services.beat.start: who is the primary is known only after the phases, so a service with 'role: primary' cannot start before them; remove start, or role"
      ]),
    BrokenFile(
      "far unknown key",
      "zebra: 1\n",
      [
        "1:1: error: zebra: unknown key; the keys here are app, clear_environment, coordination, environment, framework, health, hooks, include, infrastructure, litefs, log, max_wait, node, run_dir, run_id, services, state_dir, stop_timeout, timeout, wait_for"
      ]),
    BrokenFile(
      "bad duration",
      "timeout: soon\n",
      [
        "1:10: error: timeout: \"soon\" is not a duration; write for instance 90s, 1h30m, 250ms, or whole seconds"
      ]),
    BrokenFile(
      "duration with space",
      "timeout: 5 s\n",
      [
        "1:10: error: timeout: \"5 s\" is not a duration; write 5s"
      ]),
    BrokenFile(
      "duration in days",
      "timeout: 2d\n",
      [
        "1:10: error: timeout: \"2d\" is not a duration; write 48h: days are no unit"
      ]),
    BrokenFile(
      "duration in minutes",
      "timeout: 5min\n",
      [
        "1:10: error: timeout: \"5min\" is not a duration; write 5m"
      ]),
    BrokenFile(
      "fraction without unit",
      "timeout: 1.5\n",
      [
        "1:10: error: timeout: \"1.5\" is not a duration; give it a unit, such as 1.5s"
      ]),
    BrokenFile(
      "negative duration",
      "timeout: -5s\n",
      [
        "1:10: error: timeout: \"-5s\" is negative; durations count from zero"
      ]),
    BrokenFile(
      "huge duration",
      "max_wait: 99999999h\n",
      [
        "1:11: error: max_wait: 99999999h is longer than 100 years; write none for no limit"
      ]),
    BrokenFile(
      "zero where it means nothing",
      "max_wait: 0\n",
      [
        "1:11: error: max_wait: must be more than zero; write none for no limit"
      ]),
    BrokenFile(
      "near a word",
      "stop_timeout: atuo\n",
      [
        "1:15: error: stop_timeout: \"atuo\" is not a duration; did you mean auto?"
      ]),
    BrokenFile(
      "empty by a variable",
      "timeout: ${NOPE}\n",
      [
        "1:10: warning: timeout: the environment variable NOPE is not set, so it counts as empty; set it, or write ${NOPE:-default}",
        "1:10: error: timeout: is empty; remove the key for its default, or give it a value",
      ]),
    BrokenFile(
      "yes",
      "node: {fatal_on_error: yes}\n",
      [
        "1:24: error: node.fatal_on_error: \"yes\" is neither true nor false; write true"
      ]),
    BrokenFile(
      "Off",
      "log:\n  timestamps: Off\n",
      [
        "2:15: error: log.timestamps: \"Off\" is neither true nor false; write false"
      ]),
    BrokenFile(
      "maybe",
      "clear_environment: maybe\n",
      [
        "1:20: error: clear_environment: \"maybe\" is neither true nor false"
      ]),
    BrokenFile(
      "relative path",
      "node: {marker_dir: markers}\nrun_dir: run\nstate_dir: ./s\n",
      [
        "1:20: error: node.marker_dir: \"markers\" is not an absolute path; start it with '/'",
        "2:10: error: run_dir: \"run\" is not an absolute path; start it with '/'",
        "3:12: error: state_dir: \"./s\" is not an absolute path; start it with '/'",
      ]),
    BrokenFile(
      "wrong choice",
      "app: {restart: alway}\n",
      [
        "1:16: error: app.restart: \"alway\" is not one of always, on-failure, never; did you mean always?"
      ]),
    BrokenFile(
      "wrong choice, underscore",
      "services: {web: {command: [x], restart: on_failure}}\n",
      [
        "1:41: error: services.web.restart: \"on_failure\" is not one of always, on-failure, never; did you mean on-failure?"
      ]),
    BrokenFile(
      "later choice",
      "litefs: {mode: off, lease: {type: etcd}}\n",
      [
        "1:35: error: litefs.lease.type: \"etcd\" is not supported yet by this version; it comes with further kinds of leases; until then it can only be static or consul"
      ]),
    BrokenFile(
      "later key",
      "app: {watchdog: 5s}\nlog: {capture: true}\n",
      [
        "1:7: error: app.watchdog: is not supported yet by this version; it comes with sd_notify support; remove it until then",
        "2:7: error: log.capture: is not supported yet by this version; it comes with log capture; remove it until then",
      ]),
    BrokenFile(
      "later section",
      "timeout: 5s\nforward: {listen: \":80\"}\n",
      [
        "2:1: error: forward: is not supported yet by this version; it comes with the write forwarder; remove it until then"
      ]),
    BrokenFile(
      "wrong values where nothing is on",
      "litefs:\n  mode: off\n  http_addr: nowhere\n  lease: {type: cosul, consul: {url: \"u:secret@h\"}}\n  allow_other: yes\napp: {ready: {notify: yes}}\n",
      [
        "3:14: error: litefs.http_addr: \"nowhere\" is not an address with a port; write for instance 127.0.0.1:8686",
        "4:17: error: litefs.lease.type: \"cosul\" is not one of static, consul; did you mean consul?",
        "4:38: error: litefs.lease.consul.url: does not start with http:// or https://; write for instance http://node-1:20202",
        "5:16: error: litefs.allow_other: \"yes\" is not one of auto, true, false",
        "6:15: error: app.ready.notify: is not supported yet by this version; it comes with sd_notify support; remove it until then",
        "6:23: error: app.ready.notify: \"yes\" is neither true nor false; write true",
      ]),
    BrokenFile(
      "switched off is what this version does",
      "litefs: {mode: off}\nforward: off\nlog: {capture: false, prefix: false}\nhealth: {compat: false}\ntimeout: x\n",
      [
        "5:10: error: timeout: \"x\" is not a duration; write for instance 90s, 1h30m, 250ms, or whole seconds"
      ]),
    BrokenFile(
      "misplaced keys",
      "app: {start: with_app, role: any}\nservices:\n  a: {command: [x], signals: {USR1: drop}}\ninfrastructure: {steps: [{name: a, run: [x], fatal: true}]}\n",
      [
        "1:7: error: app.start: does not belong here: the app always starts after the phases; only services have it; remove it",
        "1:24: error: app.role: does not belong here: the app runs in every role; bind a service to a role; remove it",
        "3:21: error: services.a.signals: does not belong here: signals are only forwarded to the app; remove it",
        "4:46: error: infrastructure.steps[0].fatal: does not belong here: a failed infrastructure step always ends the start; only node steps have it; remove it",
      ]),
    BrokenFile(
      "role",
      "services: {beat: {command: [x], role: replica}, web: {command: [x], role: primry}}\n",
      [
        "1:39: error: services.beat.role: there are replicas with LiteFS only, and litefs.mode is off; set litefs.mode, or remove role",
        "1:75: error: services.web.role: \"primry\" is not one of any, primary, replica; did you mean primary?",
      ]),
    BrokenFile(
      "step without name",
      "infrastructure:\n  steps:\n    - run: [x]\n",
      [
        "3:7: error: infrastructure.steps[0]: the step has no name; add 'name: …', unique among its phase's steps"
      ]),
    BrokenFile(
      "step without run",
      "node:\n  steps:\n    - name: a\n",
      [
        "3:7: error: node.steps[0]: the step has nothing to run; add 'run: [program, argument]'"
      ]),
    BrokenFile(
      "step as text",
      "node:\n  steps:\n    - collectstatic\n",
      [
        "3:7: error: node.steps[0]: must be a map, not a single value; write it as '- name: …' with 'run: …' below"
      ]),
    BrokenFile(
      "steps as map",
      "node:\n  steps: {name: a, run: [x]}\n",
      [
        "2:10: error: node.steps: must be a list, not a map; start each item with '- '"
      ]),
    BrokenFile(
      "equal names",
      "node:\n  steps:\n    - {name: a, run: [x]}\n    - {name: b, run: [x]}\n    - {name: a, run: [y]}\n",
      [
        "5:14: error: node.steps[2].name: the name \"a\" is taken by the step at supervisor.yml:3:14; give each step of a phase its own name"
      ]),
    BrokenFile(
      "service without command",
      "services:\n  beat:\n  web: {cwd: /}\n",
      [
        "2:3: error: services.beat: the service has no command; add 'command: [program, argument]'",
        "3:3: error: services.web: the service has no command; add 'command: [program, argument]'",
      ]),
    BrokenFile(
      "service as text",
      "services:\n  beat: celery beat\n",
      [
        "2:9: error: services.beat: must be a map, not a single value; write it as 'beat: {command: […]}'"
      ]),
    BrokenFile(
      "services as list",
      "services:\n  - beat\n",
      [
        "2:3: error: services: must be a map, not a list; write one entry for each name, as in 'name: {command: […]}'"
      ]),
    BrokenFile(
      "service names",
      "services:\n  app: {command: [x]}\n  a b: {command: [x]}\n  ä: {command: [x]}\n",
      [
        "2:3: error: services.app: a service cannot be called app; choose another name, or use the top-level key app",
        "3:3: error: services.a b: \"a b\" is not a name; use letters, digits, '_' and '-', at most 64",
        "4:3: error: services.ä: \"ä\" is not a name; use letters, digits, '_' and '-', at most 64",
      ]),
    BrokenFile(
      "app as text",
      "app: gunicorn\n",
      [
        "1:6: error: app: must be a map, not a single value; its keys are backoff, command, cwd, …"
      ]),
    BrokenFile(
      "command as map",
      "app: {command: {gunicorn: 1}}\n",
      [
        "1:16: error: app.command: must be a list or a string, not a map; write it as [program, argument]"
      ]),
    BrokenFile(
      "empty commands",
      "app: {command: []}\nservices: {a: {command: \"\"}, b: {command: [\"\"]}}\n",
      [
        "1:16: error: app.command: is an empty list; write the command to run",
        "2:25: error: services.a.command: is empty; write the command to run",
        "2:44: error: services.b.command[0]: the program's name is empty",
      ]),
    BrokenFile(
      "null argument",
      "app:\n  command: [ls, ~, null]\nservices:\n  a:\n    command:\n      - ls\n      -\n",
      [
        "2:17: error: app.command[1]: means nothing at all in YAML; put it in quotes",
        "2:20: error: app.command[2]: means nothing at all in YAML; put it in quotes",
        "7:8: error: services.a.command[1]: is empty; write \"\" for an empty text, or remove the item",
      ]),
    BrokenFile(
      "list for a value",
      "timeout: [5s]\n",
      [
        "1:10: error: timeout: must be a single value, not a list"
      ]),
    BrokenFile(
      "value for a list",
      "app: {success_codes: 3, groups: {a: b}}\n",
      [
        "1:22: error: app.success_codes: must be a list, not a single value; write [3]",
        "1:33: error: app.groups: must be a list, not a map; start each item with '- '",
      ]),
  ])
  func isExplained(_ file: BrokenFile) {
    #expect(report(file.text) == file.expected.map { "supervisor.yml:\($0)" })
  }
}
