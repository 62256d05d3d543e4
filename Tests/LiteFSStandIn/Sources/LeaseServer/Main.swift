// A TEST DOUBLE of Consul: the part of its HTTP API that a lease needs, in memory, in one process. It never ships.
// https://developer.hashicorp.com/consul/api-docs/session and /kv

import Glibc
import Wire

/// `lease-server [HOST:PORT] [--minimum-ttl 10s] [--expiry-factor 2] [--token T]`
@main
struct LeaseServer {
  static func main() {
    var arguments = CommandLine.arguments.dropFirst()
    var address = "127.0.0.1:8500"
    let catalog = Catalog()
    while let argument = arguments.popFirst() {
      switch (argument, argument.hasPrefix("--") ? arguments.popFirst() : nil) {
      case ("--minimum-ttl", let value?): catalog.minimumTTL = parseDuration(value) ?? 10
      case ("--expiry-factor", let value?): catalog.expiryFactor = Double(value) ?? 2
      case ("--token", let value?): catalog.token = value
      case (_, nil) where !argument.hasPrefix("-"): address = argument
      default: fail(64, "usage: lease-server [HOST:PORT] [--minimum-ttl 10s] [--expiry-factor 2] [--token T]")
      }
    }
    signal(SIGPIPE, SIG_IGN)
    do {
      let server = try Server(listeningOn: address)
      server.serve { request, _ in catalog.answer(request) }
      say(1, "lease-server listening on: http://\(splitAddress(address).0):\(server.port)")
      catalog.expireForEver()
    } catch {
      fail(1, "lease-server: \(error)")
    }
  }

  static func say(_ descriptor: Int32, _ line: String) {
    _ = write(descriptor, line + "\n", line.utf8.count + 1)
  }

  static func fail(_ code: Int32, _ text: String) -> Never {
    say(2, text)
    exit(code)
  }
}

/// Sessions and keys, and the rules between them.
final class Catalog: @unchecked Sendable {
  var minimumTTL = 10.0
  var expiryFactor = 2.0
  var token: String?

  private struct Session {
    var id: String
    var name: String
    var node: String
    var ttl: Double
    var lockDelay: Double
    var deletes: Bool
    var renewed: Double
    var created: Int
  }

  private struct Key {
    var value: [UInt8]
    var flags = "0"
    var session: String?
    var locks = 0
    var created: Int
    var modified: Int
  }

  private let monitor = Monitor()
  private var sessions: [String: Session] = [:]
  private var keys: [String: Key] = [:]
  private var nodes: Set<String> = []
  /// Until when a key cannot be taken, after its holder was lost.
  private var delays: [String: Double] = [:]
  /// What a delete was: a blocking query waits for one too.
  private var deletions: [String: Int] = [:]
  private var index = 1
  private var isFrozen = false

  /// The session that a node has of its own is on this one.
  private static let own = "lease-server"

  func expireForEver() {
    while true {
      monitor.locked {
        expire()
        monitor.wait(seconds: 0.05)
      }
    }
  }

  /// Also before each answer: a server that hung finds out first what it has missed.
  private func expire() {
    let now = monotonicSeconds()
    for session in sessions.values
    where session.ttl > 0 && now > session.renewed + session.ttl * expiryFactor {
      end(session)
    }
  }

  /// The session is lost, by expiry or destroyed: its keys go or come free, after a delay.
  private func end(_ session: Session) {
    sessions[session.id] = nil
    for (name, key) in keys where key.session == session.id {
      if session.lockDelay > 0 { delays[name] = monotonicSeconds() + session.lockDelay }
      change(name) { key in
        if session.deletes { return nil }
        var key = key
        key?.session = nil
        return key
      }
    }
  }

  private func change(_ name: String, _ body: (Key?) -> Key?) {
    index += 1
    var key = body(keys[name])
    key?.modified = index
    keys[name] = key
    if key == nil { deletions[name] = index }
    monitor.wake()
  }

  func answer(_ request: Request) -> Response? {
    monitor.locked {
      if request.method == "PUT", request.path.hasPrefix("/orders/") { return obey(request.path) }
      while isFrozen { monitor.wait(seconds: 1) }
      expire()
      if let token, request.headers["x-consul-token"] != token { return Response(403, "Permission denied") }
      guard request.path.hasPrefix("/v1/") else { return Response(404, "") }
      let path = request.path.dropFirst(4)
      if path.hasPrefix("kv/") { return key(request, String(path.dropFirst(3))) }
      let (what, id) = path.hasPrefix("session/") ? split(path) : (String(path), "")
      switch (request.method, what) {
      case ("GET", "status/leader"): return json(.string("127.0.0.1:8300"))
      case ("PUT", "catalog/register"):
        guard let name = (try? JSON(parsing: request.body))?["Node"].string else {
          return Response(400, "Must provide node")
        }
        nodes.insert(name)
        return json(.bool(true))
      case ("PUT", "session/create"): return create(request)
      case ("PUT", "session/renew"):
        guard sessions[id] != nil else { return Response(404, "Session id '\(id)' not found") }
        sessions[id]?.renewed = monotonicSeconds()
        return json(.array(sessions[id].map { [described($0)] } ?? []))
      case ("PUT", "session/destroy"):
        if let session = sessions[id] { end(session) }
        return json(.bool(true))
      case ("GET", "session/info"): return json(.array(sessions[id].map { [described($0)] } ?? []))
      case ("GET", "session/list"): return json(.array(sessions.values.map(described)))
      default: return Response(404, "")
      }
    }
  }

  private func obey(_ path: String) -> Response {
    switch path {
    case "/orders/freeze": isFrozen = true
    case "/orders/thaw": isFrozen = false
    case "/orders/forget":
      sessions = [:]
      keys = [:]
      nodes = []
      delays = [:]
      index += 1
    default: return Response(404, "")
    }
    monitor.wake()
    return json(.bool(true))
  }

  private func split(_ path: Substring) -> (String, String) {
    let parts = path.split(separator: "/", maxSplits: 2)
    return (parts.prefix(2).joined(separator: "/"), parts.count > 2 ? String(parts[2]) : "")
  }

  private func json(_ value: JSON, at index: Int? = nil) -> Response {
    Response(
      200, value.text(), type: "application/json", headers: [("X-Consul-Index", String(index ?? self.index))])
  }

  private func described(_ session: Session) -> JSON {
    .object([
      ("ID", .string(session.id)), ("Name", .string(session.name)), ("Node", .string(session.node)),
      ("LockDelay", .number(session.lockDelay * 1e9)),
      ("Behavior", .string(session.deletes ? "delete" : "release")),
      ("TTL", .string("\(Int(session.ttl * 1000))ms")), ("CreateIndex", .number(Double(session.created))),
    ])
  }

  private func create(_ request: Request) -> Response {
    let body = (try? JSON(parsing: request.body.isEmpty ? Array("{}".utf8) : request.body)) ?? .null
    if let node = body["Node"].string, node != Catalog.own, !nodes.contains(node) {
      return Response(500, "Missing node registration")
    }
    let ttl = body["TTL"].string.flatMap { $0.isEmpty ? 0 : parseDuration($0) } ?? 0
    if body["TTL"].string?.isEmpty == false, ttl < minimumTTL || ttl > 86400 {
      return Response(
        500,
        "Invalid Session TTL '\(body["TTL"].string ?? "")', must be between [\(Int(minimumTTL))s=24h0m0s]")
    }
    var lockDelay = body["LockDelay"].string.flatMap(parseDuration) ?? 15
    if case .number(let number) = body["LockDelay"] { lockDelay = number > 1000 ? number / 1e9 : number }
    index += 1
    let digits = Array(UInt64.random(in: 0...UInt64.max).hex + UInt64.random(in: 0...UInt64.max).hex)
    let id = [0..<8, 8..<12, 12..<16, 16..<20, 20..<32].map { String(digits[$0]) }.joined(separator: "-")
    sessions[id] = Session(
      id: id, name: body["Name"].string ?? "", node: body["Node"].string ?? Catalog.own, ttl: ttl,
      lockDelay: lockDelay, deletes: body["Behavior"].string == "delete", renewed: monotonicSeconds(),
      created: index)
    return json(.object([("ID", .string(id))]))
  }

  private func key(_ request: Request, _ name: String) -> Response {
    let query = request.query
    switch request.method {
    case "GET": return get(name, query)
    case "PUT":
      if let wanted = query["cas"], Int(wanted) != keys[name]?.modified ?? 0 { return json(.bool(false)) }
      var holder = keys[name]?.session
      var takes = 0
      if let id = query["acquire"] {
        guard sessions[id] != nil else { return Response(500, "invalid session \"\(id)\"") }
        guard holder == nil || holder == id, delays[name, default: 0] < monotonicSeconds() else {
          return json(.bool(false))
        }
        takes = holder == nil ? 1 : 0
        holder = id
      }
      if let id = query["release"] {
        guard holder == id else { return json(.bool(false)) }
        holder = nil
      }
      change(name) { old in
        Key(
          value: request.body, flags: query["flags"] ?? old?.flags ?? "0", session: holder,
          locks: (old?.locks ?? 0) + takes, created: old?.created ?? index, modified: index)
      }
      return json(.bool(true))
    case "DELETE":
      if let wanted = query["cas"], Int(wanted) != keys[name]?.modified ?? 0 { return json(.bool(false)) }
      for other in keys.keys where query["recurse"] == nil ? other == name : other.hasPrefix(name) {
        change(other) { _ in nil }
      }
      return json(.bool(true))
    default: return Response(405, "")
    }
  }

  private func get(_ name: String, _ query: [String: String]) -> Response {
    let recurses = query["recurse"] != nil || query["keys"] != nil
    func matches(_ other: String) -> Bool { recurses ? other.hasPrefix(name) : other == name }
    /// The index of the newest change to what was asked for; of all, when there never was one.
    func newest() -> Int {
      let changes =
        keys.filter { matches($0.key) }.map { $0.value.modified }
        + deletions.filter { matches($0.key) }.map { $0.value }
      return changes.max() ?? index
    }
    if let seen = query["index"].flatMap({ Int($0) }), seen > 0 {
      let deadline = monotonicSeconds() + min(query["wait"].flatMap(parseDuration) ?? 300, 600)
      while newest() <= seen, monotonicSeconds() < deadline {
        monitor.wait(seconds: min(deadline - monotonicSeconds(), 1))
      }
      while isFrozen { monitor.wait(seconds: 1) }
    }
    let found = keys.filter { matches($0.key) }.sorted { $0.key < $1.key }
    let headers = [("X-Consul-Index", String(newest()))]
    if found.isEmpty { return Response(404, "", headers: headers) }
    if query["keys"] != nil { return json(.array(found.map { .string($0.key) }), at: newest()) }
    if query["raw"] != nil {
      return Response(200, String(decoding: found[0].value.value, as: UTF8.self), headers: headers)
    }
    let values = found.map { name, key in
      JSON.object(
        [
          ("LockIndex", .number(Double(key.locks))), ("Key", .string(name)),
          ("Flags", .number(Double(key.flags) ?? 0)),
          ("Value", key.value.isEmpty ? .null : .string(Base64.encode(key.value))),
        ] + (key.session.map { [("Session", .string($0))] } ?? []) + [
          ("CreateIndex", .number(Double(key.created))), ("ModifyIndex", .number(Double(key.modified))),
        ])
    }
    return json(.array(values), at: newest())
  }
}
