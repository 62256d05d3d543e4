import AgentProtocol
import Glibc
import Testing

/// A message and the file that says how it goes over the wire. The files are the contract between a supervisor and an
/// agent of different releases: a change of one needs another version.
struct Golden: Sendable, CustomTestStringConvertible {
  enum Message: Hashable, Sendable {
    case request(AgentRequest)
    case report(AgentReport)

    var frame: Frame {
      switch self {
      case .request(let request): request.frame
      case .report(let report): report.frame
      }
    }
  }

  let name: String
  let message: Message

  var testDescription: String { name }

  static let all: [Golden] =
    probes + coordinationRequests + coordinationReports + liteFSRequests + liteFSReports

  private static let probes: [Golden] = [
    Golden(
      "probe-tcp",
      .request(
        .startProbe(id: 7, target: .tcp(host: "db.internal", port: 5432), timeout: .milliseconds(2500)))),
    Golden(
      "probe-https",
      .request(
        .startProbe(
          id: 8,
          target: .http(isSecure: true, host: "example.org", port: 443, path: "/health?deep=1"),
          timeout: .seconds(5)))),
    Golden(
      "probe-http",
      .request(
        .startProbe(
          id: 9, target: .http(isSecure: false, host: "::1", port: 8000, path: "/"), timeout: .seconds(5)))),
    Golden(
      "probe-dns", .request(.startProbe(id: 10, target: .dns(host: "cache"), timeout: .seconds(1)))),
    Golden(
      "probe-file",
      .request(.startProbe(id: 11, target: .file(path: "/run/café/ready"), timeout: .seconds(1)))),
    Golden(
      "probe-sqlite",
      .request(.startProbe(id: UInt64.max, target: .sqlite(path: "/data/db.sqlite3"), timeout: .zero))),
    Golden(
      "probe-postgres",
      .request(
        .startProbe(
          id: 12, target: .postgres(connection: "host=db user=shop password='a b'"), timeout: .seconds(5)))),
    Golden(
      "probe-redis",
      .request(
        .startProbe(id: 13, target: .redis(url: "rediss://:secret@cache:6380/1"), timeout: .seconds(5)))),
    Golden("probe-cancel", .request(.cancelProbe(id: 7))),
    Golden("request-end", .request(.end)),
    Golden("hello", .report(.hello(version: "0.3.0", role: "coordination", pid: 4321))),
    Golden("heartbeat", .report(.heartbeat)),
    Golden(
      "result-ready", .report(.probeResult(id: 7, outcome: .ready("db.internal:5432 takes connections")))),
    Golden(
      "result-not-yet",
      .report(.probeResult(id: 7, outcome: .notYet("db.internal:5432 refuses connections")))),
    Golden(
      "result-refused",
      .report(.probeResult(id: 8, outcome: .refused("the certificate of example.org has expired")))),
    Golden("log", .report(.log(level: .warning, text: "low on descriptors"))),
    Golden("end", .report(.end(reason: "terminated"))),
  ]

  init(_ name: String, _ message: Message) {
    self.name = name
    self.message = message
  }

  /// The bytes in the file: pairs of hexadecimal digits, with comments after #.
  func bytes() throws -> [UInt8] {
    let text = try readText(Self.folder + "/" + name + ".hex")
    var digits: [UInt8] = []
    for line in text.split(separator: "\n") {
      for character in line.prefix(while: { $0 != "#" }) where character != " " {
        digits.append(UInt8(try #require(character.hexDigitValue, "\(name): '\(character)' is no digit")))
      }
    }
    try #require(digits.count % 2 == 0)
    return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
  }

  static var folder: String {
    let file = #filePath
    return String(file[..<(file.lastIndex(of: "/") ?? file.startIndex)]) + "/Golden"
  }

  private func readText(_ path: String) throws -> String {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    try #require(descriptor >= 0, "open \(path): errno \(errno)")
    defer { close(descriptor) }
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    let size = read(descriptor, &buffer, buffer.count)
    try #require(size > 0 && size < buffer.count)
    return String(decoding: buffer.prefix(size), as: UTF8.self)
  }
}

/// The messages in a stream that is given in the named portions, and how it ended.
func decode(_ portions: [[UInt8]], isReports: Bool) -> (messages: [Golden.Message], error: FrameError?) {
  var decoder = FrameDecoder()
  var messages: [Golden.Message] = []
  do throws(FrameError) {
    for portion in portions {
      decoder.append(portion)
      while let frame = try decoder.next() {
        if isReports {
          if let report = try AgentReport(frame) { messages.append(.report(report)) }
        } else if let request = try AgentRequest(frame) {
          messages.append(.request(request))
        }
      }
    }
    try decoder.finish()
    return (messages, nil)
  } catch {
    return (messages, error)
  }
}
