import Checks
import Testing

@Suite struct CheckTargetTests {
  private static let loopback6: [UInt8] = Array(repeating: 0, count: 15) + [1]

  /// Sixteen bytes from eight groups.
  private static func address(_ groups: UInt16...) -> CheckEndpoint.Host {
    .address(groups.flatMap { [UInt8($0 >> 8), UInt8($0 & 0xff)] })
  }

  @Test(arguments: [
    (CheckEndpoint.Host.address([127, 0, 0, 1]), "127.0.0.1:8000"),
    (.address([10, 1, 2, 3]), "10.1.2.3:8000"),
    (.localhost, "localhost:8000"), (.address(loopback6), "[::1]:8000"),
    (address(0, 0, 0, 0, 0, 0, 0, 0), "[::]:8000"), (address(1, 0, 0, 0, 0, 0, 0, 0), "[1::]:8000"),
    (address(0xfe80, 0, 0, 0, 1, 0, 0, 2), "[fe80::1:0:0:2]:8000"),
    (address(1, 2, 3, 4, 5, 6, 7, 8), "[1:2:3:4:5:6:7:8]:8000"),
    (address(1, 0, 3, 4, 5, 6, 7, 8), "[1:0:3:4:5:6:7:8]:8000"),
    (address(0, 0, 0, 0, 0, 0xffff, 0xc000, 0x0201), "[::ffff:c000:201]:8000"),
    (address(0, 0, 1, 0, 0, 0, 0, 0), "[0:0:1::]:8000"),
  ])
  func endpointIsShown(host: CheckEndpoint.Host, expected: String) {
    #expect(CheckEndpoint(host: host, port: 8000).description == expected)
  }

  @Test func candidatesAreWhatTheKernelTakes() {
    let four = CheckEndpoint(host: .address([10, 0, 0, 7]), port: 81).candidates
    #expect(four.map(\.bytes) == [[10, 0, 0, 7]])
    let six = CheckEndpoint(host: CheckTargetTests.address(0x2001, 0xdb8, 0, 0, 0, 0, 0, 10), port: 81)
      .candidates
    #expect(six.map(\.bytes) == [[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10]])
    let both = CheckEndpoint(host: .localhost, port: 81).candidates
    #expect(both.map(\.bytes) == [[127, 0, 0, 1], CheckTargetTests.loopback6])
    #expect(both.map(\.description) == ["127.0.0.1:81", "[::1]:81"])
    #expect((four + six + both).allSatisfy { $0.port == 81 })
  }

  @Test func theHostHeaderIsNotTheAddress() {
    let endpoint = CheckEndpoint(host: .address([127, 0, 0, 1]), port: 8000)
    let target = HTTPCheckTarget(endpoint: endpoint, path: "/health?full=1", hostHeader: "www.example.org")
    #expect(target.endpoint == endpoint)
    #expect(target.path == "/health?full=1")
    #expect(target.hostHeader == "www.example.org")
    #expect(target.description == "http://127.0.0.1:8000/health?full=1")
  }
}
