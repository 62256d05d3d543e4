import Glibc
import Wire

/// One running `litefs mount`, in LiteFS's order of starting and stopping.
final class Node {
  private let configuration: Configuration
  private let skipsUnmount: Bool
  private var server: Server?
  private var store: Store?
  private var election: Thread?
  private var isMounted = false
  private var child: pid_t = 0

  enum End {
    case signal
    case command(Int32)
  }

  init(_ configuration: Configuration, skipsUnmount: Bool) {
    self.configuration = configuration
    self.skipsUnmount = skipsUnmount
  }

  func start() throws {
    Log.raw(1, LiteFS.version)
    guard ["text", "json"].contains(configuration.string("log.format")) else {
      throw Failure("init logger: invalid log format: \(JSON.quoted(configuration.string("log.format")))")
    }
    Log.json = configuration.string("log.format") == "json"
    Log.timestamp = configuration.flag("log.timestamp")
    switch configuration.string("backup.type") {
    case "": Log.info("no backup client configured, skipping")
    case "file":
      Log.info("file-based backup client configured: file://\(configuration.string("backup.path"))")
    case let type: throw Failure("cannot init store: invalid backup client type: \(JSON.quoted(type))")
    }
    let server: Server
    do { server = try Server(listeningOn: configuration.string("http.addr")) } catch {
      throw Failure("cannot init http server: cannot open http server: \(error)")
    }
    self.server = server
    let store = Store(configuration, leaser: try leaser(port: server.port))
    self.store = store
    do { try store.open() } catch { throw Failure("cannot open store: \(error)") }
    election = Thread { store.elect() }
    // It goes on beside the mount. With nothing to wait for it was always seen to be the faster one.
    let soon = monotonicSeconds() + 0.03
    store.monitor.locked {
      while !store.isReady, store.primary == nil, monotonicSeconds() < soon {
        store.monitor.wait(seconds: 0.03)
      }
    }
    let path = configuration.string("fuse.dir")
    if !skipsUnmount { try? Mounting.unmount(path) }
    do { try FileSystem(store: store).mount() } catch {
      throw Failure("cannot init file system: cannot open file system: \(error)")
    }
    isMounted = true
    Log.info("LiteFS mounted to: \(path)")
    let api = API(store: store)
    server.serve { try api.answer($0, $1) }
    let (host, _) = splitAddress(configuration.string("http.addr"))
    Log.info("http server listening on: http://\(host.isEmpty ? "localhost" : host):\(server.port)")
    watchOrders()
    if configuration.flag("skip-sync") {
      Log.info("skipping cluster sync, starting immediately")
    } else {
      Log.info("waiting to connect to cluster")
      store.monitor.locked { while !store.isReady { store.monitor.wait(seconds: 3600) } }
      Log.info("connected to cluster, ready")
      if configuration.flag("lease.promote") { try promote(api, store) }
    }
    if configuration.string("proxy.target").isEmpty {
      Log.info("no proxy target set, skipping proxy")
    } else {
      throw Failure("cannot run proxy server: the stand-in has no proxy")
    }
    try execute(store)
  }

  private func leaser(port: Int) throws -> any Leaser {
    if configuration.string("lease.type") == "consul" {
      Log.info("Using Consul to determine primary")
      do { return try ConsulLeaser(configuration, port: port) } catch {
        throw Failure("cannot init consul: \(error)")
      }
    }
    let leaser = StaticLeaser(
      hostname: configuration.string("lease.hostname"), url: configuration.string("lease.advertise-url"),
      isPrimary: configuration.flag("lease.candidate"))
    Log.info(
      "Using static primary: primary=\(leaser.isPrimary) hostname=\(leaser.hostname) advertise-url=\(leaser.url)"
    )
    return leaser
  }

  private func promote(_ api: API, _ store: Store) throws {
    guard store.candidate else { return Log.info("node is not a candidate, skipping automatic promotion") }
    Log.info("node is a candidate, automatically promoting to primary")
    let (isPrimary, primary) = store.monitor.locked { (store.isPrimary, store.primary) }
    if isPrimary { return Log.info("node is already primary, skipping promotion") }
    guard let primary else { throw Failure("promote: handoff: no primary") }
    do { try api.askForHandOff(primary) } catch { throw Failure("promote: handoff: \(error)") }
    let deadline = monotonicSeconds() + 10
    try store.monitor.locked {
      while !store.isPrimary {
        if monotonicSeconds() > deadline { throw Failure("promote: timed out waiting for promotion") }
        store.monitor.wait(seconds: 0.1)
      }
    }
  }

  // MARK: exec

  private func execute(_ store: Store) throws {
    for (index, (command, ifCandidate)) in configuration.commands.enumerated() {
      // No shell, and what would need one ends the command.
      let plain = command.prefix { !";&|<>".contains($0) }
      let words = plain.split(separator: " ").map { $0.filter { $0 != "'" && $0 != "\"" } }
      if ifCandidate, !store.candidate {
        Log.info(
          "node is not a candidate, skipping command execution: \(words.first ?? "") \(words.dropFirst())")
        continue
      }
      let isLast = index == configuration.commands.count - 1
      Log.info(
        "\(isLast ? "starting background subprocess" : "executing command"): \(words.first ?? "") [\(words.dropFirst().joined(separator: " "))]"
      )
      let process: pid_t
      do { process = try spawn(words) } catch {
        throw Failure(
          "cannot exec: \(isLast ? "background cmd: cannot start exec command" : "sync cmd: cannot run command"): \(error)"
        )
      }
      if isLast {
        child = process
      } else {
        var status: Int32 = 0
        waitpid(process, &status, 0)
        if status != 0 {
          throw Failure("cannot exec: sync cmd: cannot run command: exit status \((status >> 8) & 0xff)")
        }
      }
    }
  }

  private func spawn(_ words: [String]) throws -> pid_t {
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var all = sigset_t()
    var none = sigset_t()
    sigfillset(&all)
    sigemptyset(&none)
    posix_spawnattr_setsigdefault(&attributes, &all)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF) | Int16(POSIX_SPAWN_SETSIGMASK))
    let argv: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
    defer { for pointer in argv { free(pointer) } }
    var process: pid_t = 0
    let failed = posix_spawnp(&process, words.first ?? "", nil, &attributes, argv, environ)
    if failed != 0 { throw Failure("fork/exec \(words.first ?? ""): \(Wire.words(failed))") }
    return process
  }

  // MARK: The end

  /// Waits for TERM or INT, or the end of what `exec` started.
  func waitForEnd() -> End {
    var mask = sigset_t()
    sigemptyset(&mask)
    for signal in [SIGTERM, SIGINT] { sigaddset(&mask, signal) }
    if child != 0 { sigaddset(&mask, SIGCHLD) }
    while true {
      var signal: Int32 = 0
      if child != 0, let code = reap(WNOHANG) { return .command(code) }
      sigwait(&mask, &signal)
      if signal == SIGCHLD || Orders.given("ignore-term") { continue }
      guard child != 0 else { return .signal }
      Log.raw(1, "sending signal to exec process")
      kill(child, signal)
      Log.raw(1, "waiting for exec process to close")
      let code = reap(0) ?? 0
      // As LiteFS: no unmount, no release.
      if code > 0, code != 255 { LiteFS.fail(1, "cannot wait for exec process: exit status \(code)") }
      return .signal
    }
  }

  /// Its exit code, 255 after a signal; nil while it runs.
  private func reap(_ options: Int32) -> Int32? {
    var status: Int32 = 0
    guard waitpid(child, &status, options) == child else { return nil }
    return status & 0x7f == 0 ? (status >> 8) & 0xff : 255
  }

  /// The API closes, the mount goes, the lease is released; the first failure is thrown at the end.
  func stop() throws {
    store?.monitor.locked {
      store?.endsStreams = true
      store?.monitor.wake()
      let soon = monotonicSeconds() + 0.1
      while store?.streams.isEmpty == false, monotonicSeconds() < soon { store?.monitor.wait(seconds: 0.1) }
    }
    server?.stop()
    var failure: (any Error)?
    if isMounted {
      do { try Mounting.unmount(configuration.string("fuse.dir")) } catch { failure = error }
    }
    if let store {
      store.monitor.locked {
        store.isClosing = true
        store.upstream?.cut()
        store.monitor.wake()
      }
      election?.join()
    }
    if let failure { throw failure }
  }

  /// What is ordered at any time.
  private func watchOrders() {
    guard environment("LITEFS_STANDIN_ORDERS") != nil else { return }
    Thread {
      while true {
        if let code = Orders.content("exit"), Orders.taken("exit") { _exit(Int32(code)) }
        usleep(50_000)
      }
    }.detach()
  }
}
