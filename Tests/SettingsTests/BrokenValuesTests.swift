import Testing

@testable import Settings

/// Files with values of the right shape that make no sense.
@Suite struct BrokenValuesTests {
  @Test(arguments: [
    BrokenFile(
      "exit codes",
      "app: {success_codes: [0, 256, -1, x]}\n",
      [
        "1:26: error: app.success_codes: 256 is out of range; write a number from 0 to 255",
        "1:31: error: app.success_codes: -1 is out of range; write a number from 0 to 255",
        "1:35: error: app.success_codes: \"x\" is not a whole number; write a number from 0 to 255",
      ]),
    BrokenFile(
      "signals",
      "app:\n  stop: {signal: TREM}\n  signals: {TERM: INT, SIGUSR1: drp, USR1: drop, KILL: drop, NOPE: TERM}\n",
      [
        "2:18: error: app.stop.signal: \"TREM\" is not a signal; did you mean TERM?",
        "3:13: error: app.signals.TERM: TERM stops the supervisor and is not forwarded; set app.stop.signal to choose what the app gets",
        "3:33: error: app.signals.SIGUSR1: \"drp\" is not a signal; write a name such as TERM, RTMIN+3, or a number from 1 to 64",
        "3:50: error: app.signals.KILL: KILL cannot be caught, so it cannot be changed",
        "3:62: error: app.signals.NOPE: \"NOPE\" is not a signal; write a name such as TERM, RTMIN+3, or a number from 1 to 64",
      ]),
    BrokenFile(
      "stop signals",
      "app: {stop: {signal: STOP, kill: all}}\nservices: {a: {command: [x], stop: {signal: 33}}}\n",
      [
        "1:22: error: app.stop.signal: STOP does not make a process end; use TERM, INT or QUIT",
        "1:34: error: app.stop.kill: \"all\" is not one of group, leader",
        "2:45: error: services.a.stop.signal: signal 33 belongs to the C library; use TERM, or RTMIN for the first real-time signal",
      ]),
    BrokenFile(
      "limits",
      "app: {limits: {nofiles: 1, RLIMIT_CORE: 0, cpu: -1, stack: {soft: 2, hard: 1}, nproc: {soft: 1}, as: 5Gi}}\n",
      [
        "1:16: error: app.limits.nofiles: \"nofiles\" is not a resource limit; did you mean nofile?",
        "1:28: error: app.limits.RLIMIT_CORE: \"RLIMIT_CORE\" is not a resource limit; did you mean core?",
        "1:49: error: app.limits.cpu: \"-1\" is not a limit; write unlimited",
        "1:60: error: app.limits.stack: the soft limit is above the hard one; raise hard or lower soft",
        "1:87: error: app.limits.nproc: needs both limits; write {soft: 1024, hard: 65536}",
        "1:102: error: app.limits.as: \"5Gi\" is not a size; write 5GiB",
      ]),
    BrokenFile(
      "umask",
      "app: {umask: 999}\n",
      [
        "1:14: error: app.umask: \"999\" is not a file mode mask; write three octal digits, such as 022"
      ]),
    BrokenFile(
      "user",
      "app: {user: \"a:b:c\"}\n",
      [
        "1:13: error: app.user: \"a:b:c\" is not a user; write a name or number, or both as user:group"
      ]),
    BrokenFile(
      "numbers",
      "app: {backoff: {factor: 0.5, jitter: 2, initial: 1m}, start_limit: {count: 0}}\nnode: {steps: [{name: a, run: [x], retries: many}]}\n",
      [
        "1:25: error: app.backoff.factor: 0.5 is out of range; write a number from 1 to 100",
        "1:38: error: app.backoff.jitter: 2 is out of range; write a number from 0 to 1",
        "1:50: error: app.backoff.initial: the first delay (1m) is longer than the longest one (30s); raise backoff.maximum, or lower backoff.initial",
        "1:76: error: app.start_limit.count: 0 is out of range; write a number from 1 to 1000000",
        "2:45: error: node.steps[0].retries: \"many\" is not a whole number; write a number from 0 to 1000",
      ]),
    BrokenFile(
      "backoff, maximum below the default",
      "app: {backoff: {maximum: 100ms}}\n",
      [
        "1:26: error: app.backoff.maximum: the first delay (500ms) is longer than the longest one (100ms); raise backoff.maximum, or lower backoff.initial"
      ]),
    BrokenFile(
      "no check",
      "app:\n  ready: {interval: 5s}\n",
      [
        "2:10: error: app.ready: does not say what to check; add one of http, tcp or exec, as in 'http: \"http://127.0.0.1:8000/health\"'"
      ]),
    BrokenFile(
      "two checks",
      "app:\n  ready:\n    tcp: 127.0.0.1:80\n    http: http://127.0.0.1/\n",
      [
        "3:5: error: app.ready: says to check http and tcp, and only one can be checked; keep the one that tells most; an exec check can do several things"
      ]),
    BrokenFile(
      "later check",
      "app: {ready: {notify: true}}\n",
      [
        "1:15: error: app.ready.notify: is not supported yet by this version; it comes with sd_notify support; remove it until then"
      ]),
    BrokenFile(
      "http host",
      "app: {ready: {http: \"http://web:8000/\"}}\n",
      [
        "1:21: error: app.ready.http: the host \"web\" is not an IP address; use an address such as 127.0.0.1 or [::1], or localhost; other names are not resolved yet by this version"
      ]),
    BrokenFile(
      "https",
      "app: {ready: {http: \"https://127.0.0.1/\"}}\n",
      [
        "1:21: error: app.ready.http: https is not supported yet by this version; use http:// with the address the app itself listens on, which needs no TLS, or a tcp or exec check"
      ]),
    BrokenFile(
      "http without scheme",
      "app: {ready: {http: 127.0.0.1/health}}\n",
      [
        "1:21: error: app.ready.http: \"127.0.0.1/health\" is not a URL; write for instance http://127.0.0.1:8000/health"
      ]),
    BrokenFile(
      "http user",
      "app: {ready: {http: \"http://u:pass@127.0.0.1/\"}}\n",
      [
        "1:21: error: app.ready.http: a URL to check cannot have a user or password; let the health path answer without"
      ]),
    BrokenFile(
      "http port",
      "app: {ready: {http: \"http://127.0.0.1:99999/\"}}\n",
      [
        "1:21: error: app.ready.http: \"99999\" is not a port; write a number from 1 to 65535"
      ]),
    BrokenFile(
      "http injection",
      "app: {ready: {http: \"http://127.0.0.1/a b\\r\\nX: y\"}}\n",
      [
        "1:21: error: app.ready.http: the URL \"http://127.0.0.1/a b\\r\\nX: y\" has a space or a character outside ASCII, or is too long; escape it as in %20"
      ]),
    BrokenFile(
      "http fragment",
      "app: {ready: {http: \"http://127.0.0.1/#a\"}}\n",
      [
        "1:21: error: app.ready.http: a URL to check cannot have a '#' part; remove it"
      ]),
    BrokenFile(
      "tcp host",
      "app: {ready: {tcp: db:5432}}\n",
      [
        "1:20: error: app.ready.tcp: the host \"db\" is not an IP address; use an address such as 127.0.0.1 or [::1], or localhost; other names are not resolved yet by this version"
      ]),
    BrokenFile(
      "tcp without host",
      "app: {ready: {tcp: 5432}}\n",
      [
        "1:20: error: app.ready.tcp: \"5432\" has no host; write 127.0.0.1:5432"
      ]),
    BrokenFile(
      "tcp without port",
      "app: {ready: {tcp: 127.0.0.1}}\n",
      [
        "1:20: error: app.ready.tcp: \"127.0.0.1\" has no port; write for instance 127.0.0.1:5432"
      ]),
    BrokenFile(
      "IPv6 without brackets",
      "app: {ready: {tcp: \"::1:80\"}}\n",
      [
        "1:20: error: app.ready.tcp: \"::1:80\" is not a host and port; put an IPv6 address in brackets, as in [::1]:8000"
      ]),
    BrokenFile(
      "listen without colon",
      "health: {listen: 8686}\n",
      [
        "1:18: error: health.listen: \"8686\" is not an address; write \":8686\" for all interfaces"
      ]),
    BrokenFile(
      "listen host",
      "health: {listen: example.org:80}\n",
      [
        "1:18: error: health.listen: \"example.org\" is not an IP address; write for instance 127.0.0.1:8686, [::1]:8686 or :8686"
      ]),
    BrokenFile(
      "listen star",
      "health: {listen: \"*:80\"}\n",
      [
        "1:18: error: health.listen: \"*:80\" is not an address; write \":8686\" for all interfaces, or 127.0.0.1:8686 for this host only"
      ]),
    BrokenFile(
      "listen without port",
      "health: {listen: \"::1\"}\n",
      [
        "1:18: error: health.listen: \"::1\" has no port; write [::1]:8686"
      ]),
    BrokenFile(
      "listen port",
      "health: {listen: \":65536\"}\n",
      [
        "1:18: error: health.listen: \"65536\" is not a port; write a number from 0 to 65535"
      ]),
    BrokenFile(
      "environment",
      "environment: {A: , B=C: d, E: [f]}\n",
      [
        "1:18: error: environment.A: has no value; write \"\" for an empty one, or remove the line",
        "1:20: error: environment.B=C: \"B=C\" is not the name of a variable; remove the '='",
        "1:31: error: environment.E: must be a single value, not a list",
      ]),
    BrokenFile(
      "environment as list",
      "environment: [A=b]\n",
      [
        "1:14: error: environment: must be a map, not a list; write it as {NAME: value}"
      ]),
    BrokenFile(
      "required variable",
      "run_id: ${RELEASE:?set it in the deployment}\n",
      [
        "1:9: error: run_id: the environment variable RELEASE is not set; set it in the deployment"
      ]),
    BrokenFile(
      "broken reference",
      "run_id: ${RELEASE\ntimeout: ${1}\nmax_wait: ${A-b}\n",
      [
        "1:9: error: run_id: a '${' has no '}'; close it, or write '$${' for a dollar and a brace",
        "2:10: error: timeout: \"${1}\" is not understood; write ${VAR}, ${VAR:-default} or ${VAR:?message}, or '$${' for a dollar and a brace",
        "3:11: error: max_wait: \"${A-b}\" is not understood; write ${VAR}, ${VAR:-default} or ${VAR:?message}, or '$${' for a dollar and a brace",
      ]),
    BrokenFile(
      "NUL in a scalar",
      "run_id: \"a\\0b\"\n",
      [
        "1:9: error: run_id: has a NUL character; remove the \\0"
      ]),
    BrokenFile(
      "long run ID",
      "run_id: " + String(repeating: "x", count: 201) + "\n",
      [
        "1:9: error: run_id: \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…\" is not a name; use at most 200 bytes, without line breaks and control characters"
      ]),
    BrokenFile(
      "many at once",
      "tiemout: 5s\nrun_dir: x\napp:\n  restart: sometimes\nhealth: {listen: nowhere}\n",
      [
        "1:1: error: tiemout: unknown key; did you mean timeout?",
        "2:10: error: run_dir: \"x\" is not an absolute path; start it with '/'",
        "4:12: error: app.restart: \"sometimes\" is not one of always, on-failure, never",
        "5:18: error: health.listen: \"nowhere\" is not an address with a port; write for instance 127.0.0.1:8686",
      ]),
  ])
  func isExplained(_ file: BrokenFile) {
    #expect(report(file.text) == file.expected.map { "supervisor.yml:\($0)" })
  }
}
