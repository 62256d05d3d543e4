import Testing

@testable import Settings

/// What tcp and http checks may be pointed at. Nobody else reads such texts, so everything that must not reach a
/// socket or a request is refused here.
@Suite struct CheckTargetTests {
  /// An address from eight groups.
  private static func address(_ groups: UInt16...) -> Host {
    .address(.ipv6(groups.flatMap { [UInt8($0 >> 8), UInt8($0 & 0xff)] }))
  }

  @Test(
    arguments: [
      ("127.0.0.1:8000", Host.address(.loopback4), 8000),
      ("tcp://10.1.2.3:1", .address(.ipv4([10, 1, 2, 3])), 1),
      ("tcp://[::1]:80", .address(.loopback6), 80), ("localhost:80", .localhost, 80),
      ("LocalHost:65535", .localhost, 65535), ("[::1]:8000", .address(.loopback6), 8000),
      ("[::]:8000", .address(.any6), 8000),
      ("[FE80:0:0:0:1:0:0:2]:9", address(0xfe80, 0, 0, 0, 1, 0, 0, 2), 9),
      ("[1:2:3:4:5:6:7:8]:9", address(1, 2, 3, 4, 5, 6, 7, 8), 9),
      ("[1:0:3:4:5:6:7:8]:9", address(1, 0, 3, 4, 5, 6, 7, 8), 9),
      ("[::ffff:192.0.2.1]:9", address(0, 0, 0, 0, 0, 0xffff, 0xc000, 0x0201), 9),
      ("[1::]:9", address(1, 0, 0, 0, 0, 0, 0, 0), 9), ("[0:0:1::]:9", address(0, 0, 1, 0, 0, 0, 0, 0), 9),
      ("[2001:db8::a]:81", address(0x2001, 0xdb8, 0, 0, 0, 0, 0, 10), 81),
    ] as [(String, Host, UInt16)])
  func tcpTargetsAreRead(_ text: String, _ host: Host, _ port: UInt16) throws {
    #expect(try SocketTarget(settingsText: text) == SocketTarget(host: host, port: port, text: text))
  }

  @Test(arguments: [
    ("127.0.0.1", "has no port; write for instance 127.0.0.1:5432"),
    ("[::1]", "has no port; write for instance [::1]:5432"),
    ("localhost", "has no port; write for instance localhost:5432"),
    ("127.0.0.1:", "\"\" is not a port; write a number from 1 to 65535"),
    ("127.0.0.1:0", "\"0\" is not a port"), ("127.0.0.1:65536", "\"65536\" is not a port"),
    ("127.0.0.1:+80", "\"+80\" is not a port"), ("127.0.0.1:-80", "\"-80\" is not a port"),
    ("127.0.0.1:8a", "\"8a\" is not a port"), ("127.0.0.1: 80", "\" 80\" is not a port"),
    ("127.0.0.1:8０", "is not a port"), ("127.0.0.1:80\r\n", "\"80\\r\\n\" is not a port"),
    ("127.0.0.1:80\u{0}", "is not a port"), ("127.0.0.1:8\u{301}0", "is not a port"),
    ("127.1:80", "not an IP address"), ("127.0.0.01:80", "not an IP address"),
    ("256.0.0.1:80", "not an IP address"), ("1.2.3.4.5:80", "not an IP address"),
    ("0x7f000001:80", "not an IP address"), ("2130706433:80", "not an IP address"),
    (" 127.0.0.1:80", "not an IP address"), ("127.0.0.1\u{0}:80", "not an IP address"),
    ("127.0.0.1\n:80", "\"127.0.0.1\\n\" is not an IP address"), ("１27.0.0.1:80", "not an IP address"),
    ("localhöst:80", "not an IP address"), ("localhost.:80", "not an IP address"),
    ("web:80", "use an address such as 127.0.0.1 or [::1], or localhost"),
    ("8000", "has no host; write 127.0.0.1:8000"), (":8000", "has no host; write 127.0.0.1:8000"),
    (":", "has no host; write 127.0.0.1:5432"), ("", "has no host; write 127.0.0.1:5432"),
    ("tcp://", "has no host; write 127.0.0.1:5432"),
    ("::1:80", "brackets, as in [::1]:8000"), ("tcp://::1:80", "brackets"), ("1.2.3.4:80:80", "brackets"),
    ("[::1:80", "has a '[' without a ']'"), ("[::1]80", "something else than a port after the ']'"),
    ("[::1]]:80", "something else than a port after the ']'"),
    ("[fe80::1%eth0]:80", "\"fe80::1%eth0\" has a zone, which is not supported"),
    ("[fe80::1%]:80", "has a zone"), ("[%lo]:80", "has a zone"), ("[::1%25lo]:80", "has a zone"),
    ("[1:2:3:4:5:6:7:8:9]:80", "not an IPv6"), ("[1::2::3]:80", "not an IPv6"),
    ("[12345::]:80", "not an IPv6"),
    ("[]:80", "not an IPv6"), ("[1:2:3:4:5:6:7::8]:80", "not an IPv6"), ("[1.2.3.4::]:80", "not an IPv6"),
    ("[:]:80", "not an IPv6"), ("[::+1]:80", "not an IPv6"), ("[1:2:3]:80", "not an IPv6"),
    ("[::1\u{0}]:80", "not an IPv6"), ("[::１]:80", "not an IPv6"), ("[::1.2.3.04]:80", "not an IPv6"),
    ("[127.0.0.1]:80", "only an IPv6 address stands in brackets"),
    ("[localhost]:80", "only an IPv6 address stands in brackets"),
    ("http://127.0.0.1:80", "a URL needs an http check"),
    ("127.0.0.1:80/health", "a URL needs an http check"),
    ("127.0.0.1:80/", "is not a host and port"),
  ])
  func tcpTargetsAreRefused(_ text: String, _ expected: String) {
    let problem = #expect(throws: ValueProblem.self) { try SocketTarget(settingsText: text) }
    #expect(problem?.text.contains(expected) == true, "\(String(describing: problem))")
  }

  @Test(
    arguments: [
      ("http://127.0.0.1:8000/health", Host.address(.loopback4), 8000, "127.0.0.1:8000", "/health"),
      ("http://127.0.0.1", .address(.loopback4), 80, "127.0.0.1", "/"),
      ("HTTP://localhost:8000?full=1", .localhost, 8000, "localhost:8000", "/?full=1"),
      ("http://[::1]:8000/a/b?c=d&e", .address(.loopback6), 8000, "[::1]:8000", "/a/b?c=d&e"),
      ("HTTP://LocalHost/", .localhost, 80, "LocalHost", "/"),
      ("http://[::1]?q", .address(.loopback6), 80, "[::1]", "/?q"),
      ("http://10.0.0.7/x//y%20z", .address(.ipv4([10, 0, 0, 7])), 80, "10.0.0.7", "/x//y%20z"),
      ("http://127.0.0.1/a@b:c", .address(.loopback4), 80, "127.0.0.1", "/a@b:c"),
    ] as [(String, Host, UInt16, String, String)])
  func urlsAreRead(
    _ text: String, _ host: Host, _ port: UInt16, _ authority: String, _ path: String
  ) throws {
    let target = try HTTPTarget(settingsText: text)
    #expect(target == HTTPTarget(host: host, port: port, authority: authority, path: path, text: text))
  }

  @Test(arguments: [
    ("127.0.0.1:8000", "is not a URL; write for instance http://127.0.0.1:8000/health"),
    ("tcp://127.0.0.1:8000", "is not a URL"), ("", "is not a URL"), ("ftp://127.0.0.1/", "is not a URL"),
    ("http:/127.0.0.1/", "is not a URL"),
    ("http://127.0.0.1/" + String(repeating: "x", count: 2000), "too long"),
    ("https://127.0.0.1/", "needs no TLS, or a tcp or exec check"), ("HTTPS://127.0.0.1/", "TLS"),
    ("http://", "has no host"), ("http:///health", "has no host"), ("http://:8000/", "has no host"),
    ("http://?q", "has no host"), ("http://web/", "localhost"),
    ("http://127.0.0.1/a b", "%20"), ("http://127.0.0.1/\r\nX: y", "%20"),
    ("http://127.0.0.1\r\nX:y/", "%20"),
    ("http://127.0.0.1\n", "%20"), ("http://127.0.0.1/\t", "%20"), ("http://127.0.0.1/\u{7f}", "%20"),
    ("http://127.0.0.1/\u{0}", "%20"), ("http://127.0.0.1/ä", "%20"), ("http://127.0.0.1/\u{301}", "%20"),
    ("http://127.0.0.1:99999/", "\"99999\" is not a port; write a number from 1 to 65535"),
    ("http://127.0.0.1:65536/", "\"65536\" is not a port"),
    ("http://127.0.0.1:0/", "\"0\" is not a port"), ("http://127.0.0.1:/", "\"\" is not a port"),
    ("http://[::1/", "has a '[' without a ']'"), ("http://[::1]80/", "something else than a port"),
    ("http://::1/", "brackets, as in [::1]:8000"), ("http://[fe80::1%25eth0]/", "has a zone"),
    ("http://[]/", "not an IPv6"), ("http://[localhost]/", "not an IPv6"),
    ("http://[127.0.0.1]/", "only an IPv6 address stands in brackets"),
    ("http://[::1]:8000/a/b?c=d#e", "'#'"), ("http://127.0.0.1#e", "'#'"),
  ])
  func urlsAreRefused(_ text: String, _ expected: String) {
    let problem = #expect(throws: ValueProblem.self) { try HTTPTarget(settingsText: text) }
    #expect(problem?.text.contains(expected) == true, "\(String(describing: problem))")
  }

  /// The refusal says so without repeating the password.
  @Test(arguments: [
    "http://a:hush@127.0.0.1/", "http://hush@127.0.0.1/", "http://hush@/", "http://a:hush@[::1]:80/",
    "http://127.0.0.1:80@hush/",
  ])
  func usersAreRefusedInURLs(_ text: String) {
    let problem = #expect(throws: ValueProblem.self) { try HTTPTarget(settingsText: text) }
    #expect(problem?.message == "a URL to check cannot have a user or password")
    #expect(problem?.text.contains("hush") == false)
  }

  @Test(arguments: [
    "a:hush@127.0.0.1:80", "hush@127.0.0.1:80", "tcp://a:hush@127.0.0.1:80", "http://a:hush@127.0.0.1/",
    "a:hush@[::1]:80",
  ])
  func usersAreRefusedInHosts(_ text: String) {
    let problem = #expect(throws: ValueProblem.self) { try SocketTarget(settingsText: text) }
    #expect(problem?.message == "a host to check cannot have a user or password")
    #expect(problem?.text.contains("hush") == false)
  }

  /// One reader of hosts and ports serves the health page as well.
  @Test(arguments: [
    ("[fe80::1%eth0]:80", "has a zone"), ("[::1:80", "has a '[' without a ']'"),
    ("[localhost]:80", "only an IPv6 address stands in brackets"), ("1.2.3.4:80:80", "brackets"),
  ])
  func listenAddressesFollowTheSameRules(_ text: String, _ expected: String) {
    let problem = #expect(throws: ValueProblem.self) { try ListenAddress(settingsText: text) }
    #expect(problem?.text.contains(expected) == true, "\(String(describing: problem))")
  }
}

extension ValueProblem {
  /// As in the report.
  fileprivate var text: String { suggestion.map { "\(message); \($0)" } ?? message }
}
