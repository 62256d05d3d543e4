import AgentProtocol
import TestSupport
import Testing

struct FrameTests {
  private func isReport(_ golden: Golden) -> Bool {
    if case .report = golden.message { true } else { false }
  }

  @Test(arguments: Golden.all)
  func `a golden file is this message, and this message is its bytes`(golden: Golden) throws {
    let bytes = try golden.bytes()
    let (messages, error) = decode([bytes], isReports: isReport(golden))
    #expect(messages == [golden.message])
    #expect(error == nil)
    #expect(golden.message.frame.bytes == bytes)
  }

  @Test(arguments: Golden.all)
  func `a stream cut at any byte gives nothing early and says that it was cut`(golden: Golden) throws {
    let bytes = try golden.bytes()
    for length in 1..<bytes.count {
      let (messages, error) = decode([Array(bytes.prefix(length))], isReports: isReport(golden))
      #expect(messages == [], "after \(length) bytes")
      #expect(error == .truncated, "after \(length) bytes")
      let whole = decode(
        [Array(bytes.prefix(length)), Array(bytes.dropFirst(length))], isReports: isReport(golden))
      #expect(whole.messages == [golden.message] && whole.error == nil, "in two parts, \(length) bytes first")
    }
  }

  @Test func `messages in one stream come out in order, byte by byte as well as at once`() throws {
    let reports = Golden.all.filter(isReport)
    let bytes = try reports.flatMap { try $0.bytes() }
    #expect(decode([bytes], isReports: true).messages == reports.map(\.message))
    let single = decode(bytes.map { [$0] }, isReports: true)
    #expect(single.messages == reports.map(\.message) && single.error == nil)
  }

  // MARK: Other releases

  @Test func `an unknown kind and unknown fields are passed over`() throws {
    let unknown = Frame(kind: 0x7FFF, payload: [1, 2, 3])
    let heartbeat = AgentReport.heartbeat.frame
    #expect(
      decode([unknown.bytes + heartbeat.bytes], isReports: true).messages == [.report(.heartbeat)])

    // A field of 8 bytes and one with a length, both of shapes that nobody knows yet.
    var frame = AgentRequest.cancelProbe(id: 3).frame
    frame.payload = [200, 0x05, 1, 2, 3, 4, 5, 6, 7, 8] + frame.payload + [201, 0xF0, 0, 0, 0, 2, 9, 9]
    #expect(try AgentRequest(frame) == .cancelProbe(id: 3))
  }

  @Test func `a higher minor version is read, another major version refused`() throws {
    var bytes = AgentReport.heartbeat.frame.bytes
    bytes[5] = 9
    #expect(decode([bytes], isReports: true).messages == [.report(.heartbeat)])
    bytes[4] = 2
    let (messages, error) = decode([bytes], isReports: true)
    #expect(messages == [])
    #expect(error == .otherVersion(major: 2, minor: 9))
    #expect(error?.description.contains("speaks version 2.9 of the agent protocol") == true)
    #expect(error?.description.contains("of the same release") == true)
  }

  @Test func `a probe of an unknown method keeps its number and its name`() throws {
    var frame = AgentRequest.startProbe(id: 5, target: .dns(host: "a"), timeout: .seconds(1)).frame
    let name = Array("dns".utf8)
    let at = try #require(frame.payload.indices.first { frame.payload[$0...].starts(with: name) })
    frame.payload.replaceSubrange(at..<(at + 3), with: Array("ftp".utf8))
    #expect(try AgentRequest(frame) == .startUnknownProbe(id: 5, method: "ftp"))
  }

  @Test func `an unknown verdict is not ready`() throws {
    var frame = AgentReport.probeResult(id: 1, outcome: .ready("so")).frame
    // The verdict is the second field: number 2, shape 1, eight bytes.
    let at = try #require(frame.payload.indices.first { frame.payload[$0...].starts(with: [2, 1, 0, 0, 0]) })
    frame.payload[at + 9] = 77
    #expect(try AgentReport(frame) == .probeResult(id: 1, outcome: .notYet("so")))
  }

  // MARK: Nonsense

  @Test(arguments: [
    ("GET / HTTP/1.1\r\n", "it begins with 'GET / HTTP/1.1\\x0d\\x0a'"), ("S", ""), ("SVAG", ""),
    ("SVAX", "it begins with 'SVAX'"), ("\u{1}", "it begins with '\\x01'"),
  ])
  func `what is no frame is said at its first wrong byte`(text: String, message: String) {
    let error = decode([Array(text.utf8)], isReports: true).error
    if message.isEmpty {
      #expect(error == .truncated)
    } else {
      #expect(error?.description.contains(message) == true, "\(error.map { "\($0)" } ?? "no error")")
    }
  }

  @Test func `a length beyond the limit is refused before a byte of it has come`() {
    var bytes = AgentReport.heartbeat.frame.bytes
    bytes.replaceSubrange(8..<12, with: [0, 16, 0, 1])
    #expect(decode([bytes], isReports: true).error == .tooLong(1 << 20 | 1))
    bytes.replaceSubrange(8..<12, with: [0xFF, 0xFF, 0xFF, 0xFF])
    #expect(decode([bytes], isReports: true).error == .tooLong(.max))
  }

  @Test func `nothing comes after an error`() {
    var decoder = FrameDecoder()
    decoder.append([0x58])
    #expect(throws: FrameError.notAFrame(start: [0x58])) { try decoder.next() }
    decoder.append(AgentReport.heartbeat.frame.bytes)
    #expect(throws: FrameError.notAFrame(start: [0x58])) { try decoder.next() }
  }

  @Test(
    arguments: [
      [1], [1, 1], [1, 1, 0, 0], [1, 0x81, 0, 0, 0], [1, 0x81, 0xFF, 0xFF, 0xFF, 0xFF, 1],
      [1, 0x81, 0, 0, 0, 2, 65],
      [],
    ] as [[UInt8]])
  func `fields that are cut off or missing make an error that names the kind`(payload: [UInt8]) {
    let frame = Frame(kind: 0x0102, payload: payload)
    let error = #expect(throws: FrameError.self) { try AgentRequest(frame) }
    #expect(error?.description.contains("kind 0x0102") == true)
  }

  @Test func `a text that is no UTF-8, a field of another shape, a port that is none`() {
    func reason(_ body: () throws -> Void) -> String {
      do {
        try body()
        return "none"
      } catch {
        return "\(error)"
      }
    }
    let text = Frame(kind: 0x0205, payload: [3, 0x81, 0, 0, 0, 1, 0xFF])
    #expect(reason { _ = try AgentReport(text) }.contains("field 3 that is not UTF-8"))
    let shape = Frame(kind: 0x0205, payload: [3, 1, 0, 0, 0, 0, 0, 0, 0, 1])
    #expect(reason { _ = try AgentReport(shape) }.contains("no field 3 that is a text"))
    let port = AgentRequest.startProbe(id: 1, target: .tcp(host: "a", port: 0), timeout: .zero).frame
    #expect(reason { _ = try AgentRequest(port) }.contains("no port in field 18"))
  }

  @Test func `a text is cut so that its frame stays within the limit, at a character`() throws {
    let long = "a" + String(repeating: "é", count: 1 << 20)
    guard case .end(let reason)? = try AgentReport(AgentReport.end(reason: long).frame) else {
      Issue.record("no end")
      return
    }
    #expect(reason.utf8.count <= 1 << 16)
    #expect(reason.utf8.count > (1 << 16) - 8)
    #expect(long.hasPrefix(reason))
  }

  @Test(arguments: Golden.all)
  func `a flipped bit gives a message or an error, and never a trap`(golden: Golden) throws {
    let bytes = try golden.bytes()
    for position in bytes.indices {
      for bit in 0..<8 {
        var flipped = bytes
        flipped[position] ^= 1 << bit
        let (messages, error) = decode([flipped], isReports: isReport(golden))
        // Each byte of magic and major version counts.
        if position < 5 { #expect(messages == [] && error != nil) }
        #expect(messages.count <= 1 || error == nil)
        for message in messages {
          let again = decode([message.frame.bytes], isReports: isReport(golden))
          if case .request(.startUnknownProbe) = message { continue }
          #expect(again.messages == [message])
        }
      }
    }
  }

  @Test(arguments: 0..<200 as Range<UInt64>)
  func `random bytes, bare and behind a good header, never trap`(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    let garbage = (0..<Int.random(in: 0..<300, using: &random)).map { _ in
      UInt8.random(in: .min ... .max, using: &random)
    }
    for isReports in [true, false] {
      let bare = decode([garbage], isReports: isReports)
      #expect(garbage.isEmpty || garbage.starts(with: Array("SVAG".utf8)) || bare.error != nil)
      for kind in Set(Golden.all.map(\.message.frame.kind)) {
        let frame = Frame(kind: kind, payload: garbage)
        let (messages, error) = decode([frame.bytes], isReports: isReports)
        #expect(messages.count <= 1)
        if let error { #expect(!error.description.isEmpty) }
      }
    }
  }
}

struct LiteFSFrameTests {
  private func again(_ report: LiteFSReport) throws -> LiteFSReport? {
    if case .litefs(let report)? = try AgentReport(AgentReport.litefs(report).frame) { report } else { nil }
  }

  // Lines of 50 bytes, cut at each of their bytes.
  @Test(arguments: 0..<50) func `a list that is cut at the limit ends with a whole line`(shift: Int) throws {
    let names = [String(repeating: "a", count: 1 + shift)] + (1000..<3000).map { "database-\($0).db" }
    let sent = Dictionary(uniqueKeysWithValues: names.map { ($0, "0000000000000001/ab125b121374c4e2") })
    guard case .positions(let received)? = try again(.positions(sent)) else {
      Issue.record("no positions")
      return
    }
    #expect(received.count > 1000 && received.count < 2000)
    #expect(received.allSatisfy { sent[$0.key] == $0.value })
  }

  @Test func `an unknown state of the mount is not one that works`() throws {
    var frame = AgentReport.litefs(.mount(LiteFSMount(.works))).frame
    // The state is the first field: its number, its shape, eight bytes.
    frame.payload[9] = 99
    #expect(try AgentReport(frame) == .litefs(.mount(LiteFSMount(.failed))))
  }
}
