import Glibc
import Wire

/// Who may be primary: fixed in the settings, or whoever holds a key in Consul.
protocol Leaser: Sendable {
  var type: String { get }
  var hostname: String { get }
  var advertiseURL: String { get }
  var ttl: Double { get }
  func clusterID() throws -> String
  func setClusterID(_ id: String) throws
  /// Nil when there is none.
  func primary() throws -> PrimaryInfo?
  /// A lease's ID; nil when somebody else was first. `existing`: one that was handed over.
  func acquire(existing: String?) throws -> String?
  /// False when the lease is gone.
  func renew(_ lease: String) throws -> Bool
  func release(_ lease: String)
}

struct StaticLeaser: Leaser {
  let type = "static"
  let hostname: String
  let url: String
  let isPrimary: Bool
  let ttl = 3e10

  var advertiseURL: String { isPrimary ? url : "" }
  func clusterID() throws -> String { "" }
  func setClusterID(_ id: String) throws {}
  func primary() throws -> PrimaryInfo? {
    isPrimary ? nil : PrimaryInfo(hostname: hostname, advertiseURL: url)
  }
  func acquire(existing: String?) throws -> String? { isPrimary ? "" : nil }
  func renew(_ lease: String) throws -> Bool { true }
  func release(_ lease: String) {}
}

/// The calls of LiteFS on Consul's HTTP API, none with a time limit.
struct ConsulLeaser: Leaser {
  let type = "consul"
  let hostname: String
  let advertiseURL: String
  let ttl: Double
  private let lockDelay: Double
  private let base: String
  private let headers: [(String, String)]
  private let prefix: String
  private let key: String

  private var node: String? { prefix.isEmpty ? nil : prefix + "/litefs" }
  private var path: String { (prefix.isEmpty ? "" : prefix + "/") + key }

  init(_ configuration: Configuration, port: Int) throws {
    let url = configuration.string("lease.consul.url")
    key = configuration.string("lease.consul.key")
    if key.isEmpty { throw Failure("cannot connect to consul: must specify a consul key") }
    var name = [CChar](repeating: 0, count: 256)
    gethostname(&name, 255)
    let own = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    hostname = configuration.string("lease.hostname").isEmpty ? own : configuration.string("lease.hostname")
    let advertised = configuration.string("lease.advertise-url")
    advertiseURL = advertised.isEmpty ? "http://\(hostname):\(port)" : advertised
    func positive(_ key: String, _ other: Double) -> Double {
      let value = configuration.durations[key] ?? 0
      return value > 0 ? value : other
    }
    ttl = positive("lease.consul.ttl", 10)
    lockDelay = positive("lease.consul.lock-delay", 1)
    let address = Address(url) ?? Address("http://127.0.0.1:8500")
    base = "http://\(address?.host ?? ""):\(address?.port ?? 80)/v1/"
    prefix = String((address?.path ?? "").drop { $0 == "/" })
    let token = address?.password ?? environment("CONSUL_HTTP_TOKEN")
    headers = token.map { [("X-Consul-Token", $0)] } ?? []
    if let node {
      do {
        _ = try call(
          "PUT", "catalog/register", .object([("Node", .string(node)), ("Address", .string("localhost"))]))
      } catch let failure as Failure {
        throw Failure("cannot connect to consul: register node \(JSON.quoted(node)): \(failure)")
      }
    }
    Log.info("initializing consul: key=\(key) url=\(url) hostname=\(hostname) advertise-url=\(advertiseURL)")
  }

  /// The body of a 200; nil for a 404.
  private func call(_ method: String, _ path: String, _ body: JSON? = nil) throws -> JSON? {
    let response = try fetch(
      method, base + path, headers: headers, body: body.map { Array($0.text().utf8) } ?? [])
    if response.status == 404 { return nil }
    guard response.status == 200 else {
      let said = String(decoding: response.body, as: UTF8.self).filter { $0 != "\n" }
      throw Failure("Unexpected response code: \(response.status) (\(said))")
    }
    return try JSON(parsing: response.body)
  }

  private func value(_ key: String) throws -> String? {
    guard let encoded = try call("GET", "kv/" + escaped(key))?.array.first?["Value"].string, !encoded.isEmpty
    else {
      return nil
    }
    return String(decoding: Base64.decode(encoded), as: UTF8.self)
  }

  func clusterID() throws -> String { try value(path + "/clusterid") ?? "" }

  func setClusterID(_ id: String) throws {
    if try !clusterID().isEmpty { throw Failure("cluster already initialized, cannot set cluster id") }
    _ = try fetch("PUT", base + "kv/" + escaped(path + "/clusterid"), headers: headers, body: Array(id.utf8))
  }

  func primary() throws -> PrimaryInfo? {
    guard let text = try value(path) else { return nil }
    let info = try JSON(parsing: Array(text.utf8))
    return PrimaryInfo(
      hostname: info["hostname"].string ?? "", advertiseURL: info["advertise-url"].string ?? "")
  }

  func acquire(existing: String?) throws -> String? {
    var session = existing ?? ""
    if existing == nil {
      let fields: [(String, JSON)] = [
        ("Name", .string("litefs")), ("Behavior", .string("delete")),
        ("TTL", .string("\(Int(ttl * 1000))ms")),
        ("LockDelay", .string("\(Int(lockDelay * 1000))ms")), ("Checks", .array([])),
      ]
      do {
        let answer = try call(
          "PUT", "session/create", .object((node.map { [("Node", .string($0))] } ?? []) + fields))
        session = answer?["ID"].string ?? ""
      } catch let failure as Failure {
        throw Failure("acquire lease: create consul session: \(failure)")
      }
    } else if try !renew(session) {
      throw Failure("lease expired")
    }
    let value = JSON.object([("hostname", .string(hostname)), ("advertise-url", .string(advertiseURL))])
    guard case .bool(true)? = try call("PUT", "kv/\(escaped(path))?acquire=\(session)", value) else {
      if existing == nil { release(session) }
      return nil
    }
    return session
  }

  func renew(_ lease: String) throws -> Bool { try call("PUT", "session/renew/" + lease) != nil }

  func release(_ lease: String) {
    do {
      if case .bool(true)? = try call("PUT", "kv/\(escaped(path))?release=\(lease)") {
      } else {
        Log.info("cannot release consul key: key=\(path) session=\(lease)")
      }
    } catch {
      Log.info("consul key release error: key=\(path) session=\(lease)")
    }
    _ = try? call("PUT", "session/destroy/" + lease)
  }
}
