import Testing

@testable import Settings

@Suite struct ValueTests {
  static let durations: [(String, Duration)] = [
    ("0", .zero), ("0s", .zero), ("300", .seconds(300)), ("1h30m", .seconds(5400)),
    ("250ms", .milliseconds(250)),
    ("1.5s", .milliseconds(1500)), (".5s", .milliseconds(500)), ("1.s", .seconds(1)), ("90m", .seconds(5400)),
    ("1us", .microseconds(1)), ("1µs", .microseconds(1)), ("7ns", .nanoseconds(7)), ("0.1h", .seconds(360)),
    ("1h1m1s1ms1us1ns", .nanoseconds(3_661_001_001_001)), ("0.0000000001s", .zero),
    ("1.23456789012345678901234567890s", .nanoseconds(1_234_567_890)), ("010", .seconds(10)),
    ("3162240000", .seconds(3_162_240_000)),
  ]

  @Test(arguments: durations) func durationsAreRead(_ text: String, _ expected: Duration) throws {
    #expect(try Duration(settingsText: text) == expected)
  }

  @Test(
    arguments: [
      "", " ", "s", "1x", "1s2", ".s", ".", "1..5s", "1e3s", "0x10", "1 s", " 1s", "1s ", "-1s", "+1s",
      "１s",
      "1S", "1h-5m", "3162240001", "9223372036854775807", "9999999999999999999999", "2562047788015216h",
      "1h1",
      "18446744073709551615ns1ns",
    ])
  func noDurations(_ text: String) {
    #expect(throws: ValueProblem.self) { try Duration(settingsText: text) }
  }

  static let shown: [(Duration, String)] = [
    (.zero, "0s"), (.seconds(300), "5m"), (.seconds(5400), "1h30m"), (.milliseconds(9500), "9.5s"),
    (.milliseconds(4500), "4.5s"), (.milliseconds(250), "250ms"), (.microseconds(1500), "1500us"),
    (.nanoseconds(1), "1ns"), (.seconds(3601), "1h1s"), (.nanoseconds(1_000_000_001), "1.000000001s"),
  ]

  @Test(arguments: shown) func durationsAreShown(_ duration: Duration, _ expected: String) throws {
    #expect(duration.settingsText == expected)
    #expect(try Duration(settingsText: expected) == duration)
  }

  static let sizes: [(String, UInt64)] = [
    ("0", 0), ("17", 17), ("17B", 17), ("64MiB", 64 << 20), ("1KiB", 1024), ("1kB", 1000),
    ("2GB", 2_000_000_000),
    ("3TiB", 3 << 40),
  ]

  @Test(arguments: sizes) func sizesAreRead(_ text: String, _ expected: UInt64) throws {
    #expect(try ByteCount.parse(text) == expected)
  }

  @Test(arguments: [
    "", "MiB", "-1", "1.5GiB", "64 MiB", "64mib", "64M", "99999999999TiB", "18446744073709551616",
  ])
  func noSizes(_ text: String) {
    #expect(throws: ValueProblem.self) { try ByteCount.parse(text) }
  }

  static let signals: [(String, Int32)] = [
    ("TERM", 15), ("SIGTERM", 15), ("term", 15), ("sigint", 2), ("15", 15), ("1", 1), ("31", 31), ("34", 34),
    ("64", 64), ("RTMIN", 34), ("SIGRTMIN+3", 37), ("rtmin+0", 34), ("RTMIN+30", 64), ("RTMAX", 64),
    ("RTMAX-1", 63),
    ("USR1", 10), ("CHLD", 17), ("WINCH", 28), ("IO", 29), ("POLL", 29), ("PWR", 30), ("SYS", 31),
    ("STKFLT", 16),
  ]

  @Test(arguments: signals) func signalsAreRead(_ text: String, _ expected: Int32) {
    #expect(SignalName.parse(text) == expected)
  }

  @Test(arguments: [
    "", "0", "32", "33", "65", "-15", "+15", "SIG", "SIGSIGTERM", "RTMIN+31", "RTMIN-1", "RTMAX-31",
    "RTMAX+1", "RTMIN+",
    "RTMIN+-1", "RTMIN+999999999999", "TERM ", "15.0", "99999999999",
  ])
  func noSignals(_ text: String) {
    #expect(SignalName.parse(text) == nil)
  }

  @Test(arguments: Array(1...31) + Array(34...64))
  func signalNamesReadBack(_ number: Int32) {
    #expect(SignalName.parse(SignalName.text(number)) == number)
  }

  static let listens: [(String, IPAddress, UInt16, Bool)] = [
    (":8686", .any6, 8686, true), (":0", .any6, 0, true), ("127.0.0.1:80", .ipv4([127, 0, 0, 1]), 80, false),
    ("0.0.0.0:65535", .ipv4([0, 0, 0, 0]), 65535, false), ("[::]:80", .any6, 80, false),
    ("[::1]:80", .loopback6, 80, false), ("localhost:80", .loopback4, 80, false),
    ("[::ffff:1.2.3.4]:1", .ipv6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 1, 2, 3, 4]), 1, false),
  ]

  @Test(arguments: listens)
  func listenAddressesAreRead(_ text: String, _ address: IPAddress, _ port: UInt16, _ everywhere: Bool) throws
  {
    let listen = try ListenAddress(settingsText: text)
    #expect(listen == ListenAddress(address: address, port: port, isAllInterfaces: everywhere, text: text))
  }

  @Test(arguments: [
    "", ":", "8686", "127.0.0.1", "127.0.0.1:", "127.0.0.1:-1", "127.0.0.1:65536", "127.0.0.1:80x", "::1:80",
    "[::1]",
    "[::1]80", "[::1", "[127.0.0.1]:80", "127.0.0.01:80", "127.1:80", "[fe80::1%eth0]:80", "web:80", "*:80",
    "http://:80", "[]:80", "127.0.0.1:8０",
  ])
  func noListenAddresses(_ text: String) {
    #expect(throws: ValueProblem.self) { try ListenAddress(settingsText: text) }
  }

  @Test(
    arguments: [("0", 0), ("022", 0o22), ("22", 0o22), ("0o077", 0o77), ("777", 0o777), ("0002", 2)]
      as [(String, UInt32)])
  func umasksAreOctal(_ text: String, _ expected: UInt32) throws {
    #expect(try settings("app: {umask: \(text)}").app.umask == expected)
  }

  @Test(arguments: ["8", "1000", "-22", "00022", "u=rwx", "0o", "7777"])
  func noUmasks(_ text: String) {
    #expect(report("app: {umask: \"\(text)\"}").count == 1)
  }

  @Test(arguments: [
    ("postgres://user:secret@host/db", "postgres://user:****@host/db"),
    ("a://b:c@d e://f:g@h", "a://b:****@d e://f:****@h"),
    ("a://b:p@ss@d/e", "a://b:****@d/e"), ("http://127.0.0.1:80/a@b", "http://127.0.0.1:80/a@b"),
    ("a://@", "a://@"), ("://", "://"), ("x", "x"), ("a://:@", "a://:****@"),
  ])
  func passwordsInURLsAreMasked(_ text: String, _ expected: String) {
    #expect(maskingPasswords(in: text) == expected)
  }

  @Test(
    arguments: [
      ("tiemout", "timeout"), ("comand", "command"), ("resart", "restart"), ("restrat", "restart"),
      ("TIMEOUT", nil),
      ("x", nil), ("", nil), ("stop", "stop"),
    ] as [(String, String?)])
  func theNearestWordIsFound(_ word: String, _ expected: String?) {
    #expect(nearest(to: word, among: ["timeout", "command", "restart", "stop"]) == expected)
  }
}
