import Glibc
import Wire

/// LiteFS's HTTP API, and the stream by which stand-ins replicate (not LiteFS's, which is HTTP/2).
struct API: Sendable {
  let store: Store
  let methods: [String: [String]] = [
    "/export": ["GET"], "/halt": ["POST", "DELETE"], "/handoff": ["POST"], "/import": ["POST"],
    "/info": ["GET"],
    "/promote": ["POST"], "/stream": ["POST"], "/tx": ["POST"], "/events": ["GET"],
  ]

  func answer(_ request: Request, _ connection: Connection) throws -> Response? {
    Orders.hold("hang-api")
    switch request.path {
    case "/metrics": return Response(200, metrics(), type: "text/plain; version=0.0.4; charset=utf-8")
    case "/debug/vars": return Response(200, variables(), type: "application/json; charset=utf-8")
    default: break
    }
    let id = store.monitor.locked { store.clusterID }
    let headers = [("Litefs-Id", store.name)] + (id.isEmpty ? [] : [("Litefs-Cluster-Id", id)])
    func failure(_ status: Int, _ text: String) -> Response {
      Log.info("http: \(request.method) \(request.path): error: \(text)")
      return Response(status, text + "\n", headers: headers)
    }
    guard let methods = methods[request.path] else {
      return Response(404, "404 page not found\n", headers: headers)
    }
    guard methods.contains(request.method) else { return failure(405, "method not allowed") }
    let database = store.monitor.locked { store.databases[request.query["name"] ?? ""] }
    switch request.path {
    case "/info": return Response(200, info() + "\n", headers: headers)
    case "/events":
      try events(connection, headers)
      return nil
    case "/stream":
      // Only another stand-in asks like this.
      guard request.headers["litefs-stand-in"] != nil else {
        return Response(426, "Upgrade to HTTP/2 required\n", headers: headers)
      }
      if request.headers["litefs-id"] == store.name { return failure(400, "cannot connect to self") }
      guard store.monitor.locked({ store.isPrimary }) else { return failure(503, "lease expired") }
      try stream(request, connection, headers)
      return nil
    case "/export":
      guard let name = request.query["name"], !name.isEmpty else { return failure(400, "name required") }
      guard let database else { return failure(404, "database not found") }
      var response = Response(200, "", type: "application/octet-stream", headers: headers)
      response.body = store.monitor.locked { database.last?.image ?? [] }
      return response
    case "/import":
      guard let name = request.query["name"], !name.isEmpty else { return failure(400, "name required") }
      guard store.monitor.locked({ store.isPrimary }) else { return failure(503, "lease expired") }
      do { try store.importDatabase(name, request.body) } catch { return failure(500, "\(error)") }
    case "/handoff":
      guard let text = request.query["nodeID"], text.count == 16, let node = UInt64(text, radix: 16) else {
        return failure(400, "invalid node id")
      }
      if let text = handOff(to: node) { return failure(500, "cannot handoff: \(text)") }
    case "/promote":
      guard store.candidate else { return failure(409, "not eligible to become primary") }
      let (isPrimary, primary) = store.monitor.locked { (store.isPrimary, store.primary) }
      if isPrimary {
        Log.info("node is already primary, skipping promotion")
        break
      }
      guard let primary else {
        return failure(500, "no primary is currently available for handoff, cannot promote")
      }
      Log.info("requesting primary handoff from: \(primary.advertiseURL)")
      do { try askForHandOff(primary) } catch { return failure(500, "handoff failed: \(error)") }
      Log.info("primary handoff request successful")
    default: return failure(500, "the stand-in has no \(request.path)")
    }
    return Response(200, "", headers: headers)
  }

  func askForHandOff(_ primary: PrimaryInfo) throws {
    let answer = try fetch("POST", primary.advertiseURL + "/handoff?nodeID=" + store.name)
    if answer.status != 200 { throw Failure("invalid response: code=\(answer.status)") }
  }

  /// Asks the election's thread. Why not, when it cannot.
  private func handOff(to node: UInt64) -> String? {
    store.monitor.locked {
      guard store.isPrimary else { return "node is not currently primary" }
      guard store.streams.values.contains(where: { $0.nodeID == node }) else {
        return "target node is not currently connected"
      }
      if store.leaser.type == "static" { return "static lease does not support handoff" }
      store.handoffRequest = node
      store.monitor.wake()
      let deadline = monotonicSeconds() + 5
      while store.handoffRequest != nil, monotonicSeconds() < deadline { store.monitor.wait(seconds: 0.1) }
      return store.handoffRequest == nil ? nil : "consul handoff timeout"
    }
  }

  private func info() -> String {
    store.monitor.locked {
      let hostname = store.isPrimary ? store.leaser.hostname : store.primary?.hostname ?? ""
      return JSON.object(
        (store.clusterID.isEmpty ? [] : [("clusterID", .string(store.clusterID))]) + [
          ("isPrimary", .bool(store.isPrimary)), ("candidate", .bool(store.candidate)),
          ("path", .string(store.path)),
          ("primary", .object([("hostname", .string(hostname))])),
        ]
      ).text(indent: "  ")
    }
  }

  private func variables() -> String {
    store.monitor.locked {
      let databases = store.databases.values.sorted { $0.name < $1.name }.map { database -> (String, JSON) in
        let file = database.locks[.database, default: LockTable()]
        let shared = database.locks[.shm, default: LockTable()]
        let names = ["write", "ckpt", "recover", "read0", "read1", "read2", "read3", "read4"]
        let locks =
          [
            ("pending", file.state(SQLiteLock.pending)), ("shared", file.state(SQLiteLock.shared.lowerBound)),
            ("reserved", file.state(SQLiteLock.reserved)),
          ] + zip(names, SQLiteLock.wal).map { ($0, shared.state($1)) } + [
            ("dms", shared.state(SQLiteLock.deadMan))
          ]
        return (
          database.name,
          .object([
            ("name", .string(database.name)), ("txid", .string(database.id.hex)),
            ("checksum", .string(database.checksum.hex)), ("locks", .object(locks.map { ($0, .string($1)) })),
          ])
        )
      }
      let all = JSON.object([
        ("isPrimary", .bool(store.isPrimary)), ("candidate", .bool(store.candidate)),
        ("dbs", .object(databases)),
      ])
      return "{\n\"cmdline\": [\"litefs\"],\n\"memstats\": {},\n\"store\": \(all.text())\n}\n"
    }
  }

  private func metrics() -> String {
    store.monitor.locked {
      func gauge(_ name: String, _ value: String, _ type: String = "gauge") -> String {
        "# TYPE \(name) \(type)\n\(name) \(value)\n"
      }
      func each(_ name: String, _ type: String, _ value: (Database) -> String) -> String {
        "# TYPE \(name) \(type)\n"
          + store.databases.values.sorted { $0.name < $1.name }
          .map { "\(name){db=\(JSON.quoted($0.name))} \(value($0))\n" }.joined()
      }
      let lag = store.primaryTimestamp > 0 ? Double(store.lag) / 1000 : 0
      func number(_ value: Double) -> String { value == 0 ? "0" : String(value) }
      return gauge("litefs_is_primary", store.isPrimary ? "1" : "0")
        + gauge("litefs_lag_seconds", number(lag))
        + gauge("litefs_db_count", String(store.databases.count))
        + gauge("litefs_subscriber_count", String(store.streams.count))
        + gauge("litefs_http_stream_count", String(store.streams.count))
        + each("litefs_db_txid", "gauge") { String($0.id) }
        + each("litefs_db_commit_count", "counter") { String($0.commits) }
        + each("litefs_db_lag_seconds", "gauge") {
          String(Double(unixMilliseconds() - ($0.last?.timestamp ?? unixMilliseconds())) / 1000)
        }
    }
  }

  private func startStreaming(_ connection: Connection, _ headers: [(String, String)]) throws {
    let lines = ([("Content-Type", "text/plain; charset=utf-8"), ("Connection", "close")] + headers).map {
      "\($0): \($1)\r\n"
    }
    try connection.write("HTTP/1.1 200 OK\r\n\(lines.joined())\r\n")
  }

  private func events(_ connection: Connection, _ headers: [(String, String)]) throws {
    let subscriber = Subscriber()
    store.monitor.locked {
      subscriber.lines = [JSON.object([("type", .string("init")), ("data", store.role)]).text()]
      store.events[ObjectIdentifier(subscriber)] = subscriber
    }
    defer { store.monitor.locked { store.events[ObjectIdentifier(subscriber)] = nil } }
    try startStreaming(connection, headers)
    while true {
      let lines = store.monitor.locked {
        if subscriber.lines.isEmpty { store.monitor.wait(seconds: 1) }
        defer { subscriber.lines = [] }
        return subscriber.lines
      }
      Orders.hold("hang-api")
      if !lines.isEmpty { try connection.write(lines.joined(separator: "\n") + "\n") }
      if connection.isCut { return }
    }
  }

  /// What a replica lacks, then what comes, with a heartbeat in each second without news.
  private func stream(_ request: Request, _ connection: Connection, _ headers: [(String, String)]) throws {
    let peer = connection.peer
    Log.info("\(store.name): stream connected (\(peer))")
    let subscriber = Subscriber()
    subscriber.nodeID = UInt64(request.headers["litefs-id"] ?? "", radix: 16) ?? 0
    var positions: [String: (UInt64, UInt64)] = [:]
    for line in String(decoding: request.body, as: UTF8.self).split(separator: "\n") {
      let words = line.split(separator: " ")
      guard words.count == 3 else { continue }
      positions[unescaped(words[0])] = (UInt64(words[1], radix: 16) ?? 0, UInt64(words[2], radix: 16) ?? 0)
    }
    store.monitor.locked {
      for database in store.databases.values.sorted(by: { $0.name < $1.name }) {
        guard let last = database.last else { continue }
        let (id, checksum) = positions[database.name] ?? (0, 0)
        if id > last.id {
          Log.info(
            "client transaction id (\(id.hex)) exceeds primary transaction id (\(last.id.hex)), clearing client position"
          )
        }
        if id != last.id || checksum != last.checksum { subscriber.transactions.append(last) }
      }
      store.streams[ObjectIdentifier(subscriber)] = subscriber
    }
    defer {
      store.monitor.locked {
        store.streams[ObjectIdentifier(subscriber)] = nil
        store.monitor.wake()
      }
      Log.info("\(store.name): stream disconnected (\(peer))")
    }
    try startStreaming(connection, headers)
    var isFirst = true
    var beat = monotonicSeconds()
    while true {
      let (transactions, handoff, isOver): ([Transaction], String?, Bool) = store.monitor.locked {
        while !isFirst, subscriber.transactions.isEmpty, subscriber.handoff == nil, store.isPrimary,
          !store.endsStreams,
          monotonicSeconds() < beat + 1
        {
          store.monitor.wait(seconds: max(beat + 1 - monotonicSeconds(), 0.001))
        }
        defer { subscriber.transactions = [] }
        return (subscriber.transactions, subscriber.handoff, !store.isPrimary || store.endsStreams)
      }
      for transaction in transactions {
        try connection.write(Array((transaction.head + "\n").utf8) + transaction.image)
      }
      if isFirst { try connection.write("READY\n") }
      if let handoff {
        try connection.write("HANDOFF \(handoff)\n")
        store.monitor.locked {
          subscriber.handoff = nil
          store.monitor.wake()
        }
        return
      }
      if isOver { return try connection.write("END\n") }
      if isFirst || transactions.isEmpty { try connection.write("HEARTBEAT \(unixMilliseconds())\n") }
      beat = monotonicSeconds()
      isFirst = false
      if connection.isCut { return }
    }
  }
}
