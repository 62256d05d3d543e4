import AgentProtocol
import NIOCore
import Testing

@testable import Agent

@Suite("supervisor-agent: what is news about LiteFS")
struct LiteFSFindingsTests {
  private let start = NIODeadline.uptimeNanoseconds(1_000_000_000)

  private func information(_ text: String, askedBefore: Duration = .zero) -> LiteFSReport {
    .info(body: Array(text.utf8), nodeID: "0A", clusterID: "", askedBefore: askedBefore)
  }

  @Test("what is found first is news; the same again is not, and waits with its age")
  func same() {
    var findings = Findings()
    findings.add(.information, information("{}"), since: start)
    #expect(
      findings.takeNews(at: start + .milliseconds(2)) == [
        information("{}", askedBefore: .milliseconds(2))
      ])
    findings.add(.information, information("{}"), since: start)
    #expect(findings.takeNews(at: start).isEmpty)
    #expect(
      findings.takeAll(at: start + .seconds(1)) == [information("{}", askedBefore: .seconds(1))])
    #expect(findings.takeAll(at: start).isEmpty)
  }

  @Test("what changes by itself is no news: free space, the lag, memory; that nothing ever came is")
  func moving() {
    var findings = Findings()
    func add(_ space: UInt64, _ lag: String, _ body: [UInt8]) {
      findings.add(.mount, .mount(LiteFSMount(.works, layers: 1, freeSpace: space)))
      findings.add(.lag, .lag(lag, readBefore: .zero), since: start)
      findings.add(.variables, .variables(body: body, askedBefore: .zero), since: start)
    }
    add(5, "+000000001", [1])
    #expect(findings.takeNews(at: start).count == 3)
    add(6, "+000000999", [2])
    #expect(findings.takeNews(at: start).isEmpty)
    // One piece of news takes everything with it.
    findings.add(.lag, .lag("+2147483647", readBefore: .zero), since: start)
    #expect(
      findings.takeNews(at: start) == [
        .mount(LiteFSMount(.works, layers: 1, freeSpace: 6)), .lag("+2147483647", readBefore: .zero),
        .variables(body: [2], askedBefore: .zero),
      ])
  }

  @Test("news that were not taken stay news, though the next look finds the same")
  func kept() {
    var findings = Findings()
    findings.add(.mount, .mount(LiteFSMount(.dead)))
    findings.add(.mount, .mount(LiteFSMount(.dead, freeSpace: 1)))
    #expect(findings.takeNews(at: start) == [.mount(LiteFSMount(.dead, freeSpace: 1))])
    findings.forget(.mount)
    findings.add(.mount, .mount(LiteFSMount(.dead)))
    #expect(findings.takeNews(at: start).count == 1)
  }

  @Test("of lines that wait the last transaction and the last other one are kept")
  func lines() {
    func line(_ text: String) -> [UInt8] { Array(text.utf8) }
    var events = EventLines()
    let (role, transaction) = (
      line(#"{"type":"primaryChange","data":{"isPrimary":true}}"#), line(#"{"type":"tx","db":"a","data":{}}"#)
    )
    #expect(EventLines.isTransaction(transaction) && !EventLines.isTransaction(role))
    for old in [line(#"{"type":"init"}"#), line(#"{"type":"tx","db":"b"}"#), role, transaction] {
      events.keep(old)
    }
    #expect(events.takeAll() == [role, transaction])
    #expect(events.takeAll().isEmpty)
  }
}
