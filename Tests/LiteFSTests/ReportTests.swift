import Testing

@testable import LiteFS

/// What LiteFS answers, byte for byte as it was seen.
struct ReportTests {
  // MARK: Positions

  @Test(
    arguments: [
      ("0000000000000002/ec3f1536d45c9e35\n", 2, 0xec3f_1536_d45c_9e35),
      ("0000000000000000/0000000000000000", 0, 0), ("FFFFFFFFFFFFFFFF/ffffffffffffffff\n", .max, .max),
    ] as [(String, UInt64, UInt64)])
  func `a position`(text: String, transaction: UInt64, checksum: UInt64) throws {
    let position = try #require(Position(text))
    #expect(position == Position(transaction: transaction, checksum: checksum))
    #expect(Position(position.description) == position)
    #expect(position.description.utf8.count == 33)
  }

  @Test(arguments: [
    "", "\n", "0000000000000002", "0000000000000002/ec3f1536d45c9e3", "0000000000000002/ec3f1536d45c9e350",
    "000000000000000g/ec3f1536d45c9e35", "0000000000000002/ec3f1536d45c9e35\n\n",
    "+000000000000002/ec3f1536d45c9e35",
    "0000000000000002/ec3f1536d45c9e35/0", " 000000000000002/ec3f1536d45c9e35",
    "0000000000000002-ec3f1536d45c9e35",
  ])
  func `no position`(text: String) { #expect(Position(text) == nil) }

  @Test(
    arguments: [
      ((5, 1), (5, 1), .same), ((5, 1), (5, 2), .diverged), ((4, 1), (5, 2), .behind(1)),
      ((9, 1), (5, 2), .ahead(4)), ((0, 0), (UInt64.max, 0), .behind(.max)),
    ] as [((UInt64, UInt64), (UInt64, UInt64), Position.Relation)])
  func `how two positions stand`(
    one: (UInt64, UInt64), other: (UInt64, UInt64), relation: Position.Relation
  ) {
    let left = Position(transaction: one.0, checksum: one.1)
    #expect(left.relation(to: Position(transaction: other.0, checksum: other.1)) == relation)
  }

  @Test(
    arguments: [
      (["a": 5], ["a": 5], []), (["a": 6, "b": 1], ["a": 5], []), ([:], [:], []),
      (["a": 4], ["a": 5], ["a is 1 transaction behind"]),
      (["a": 1], ["a": 5], ["a is 4 transactions behind"]),
      ([:], ["b": 5, "a": 1], ["a is not here yet", "b is not here yet"]),
    ] as [([String: UInt64], [String: UInt64], [String])])
  func `what is missing`(own: [String: UInt64], required: [String: UInt64], gaps: [String]) {
    func positions(_ numbers: [String: UInt64]) -> Positions {
      Positions(numbers.mapValues { Position(transaction: $0, checksum: $0 * 7) })
    }
    #expect(positions(own).gaps(to: positions(required)).map(\.description) == gaps)
  }

  @Test func `another history is a gap that time does not close`() {
    let own = Positions(["a": Position(transaction: 5, checksum: 1)])
    let required = Positions(["a": Position(transaction: 5, checksum: 2)])
    #expect(own.gaps(to: required) == [.diverged("a")])
  }

  // MARK: Lag

  @Test(arguments: [
    ("+000000515\n", Lag.behind(.milliseconds(515))), ("+000000000\n", .behind(.zero)),
    ("-000000042\n", .behind(.milliseconds(-42))), ("+2147483647", .neverSynced),
    ("+123456789\n", .behind(.milliseconds(123_456_789))),
  ])
  func `a lag`(text: String, lag: Lag) { #expect(Lag(text) == lag) }

  @Test(arguments: [
    "", "+", "000000515\n", "+00000a515\n", "+000000515\n\n", "+ 00000515\n", "++00000515", "+99999999999",
  ])
  func `no lag`(text: String) { #expect(Lag(text) == nil) }

  @Test(arguments: [
    (Lag.neverSynced, 10_000, false), (.behind(.milliseconds(10_000)), 10_000, true),
    (.behind(.milliseconds(10_001)), 10_000, false), (.behind(.milliseconds(-5)), 0, true),
  ])
  func `never is not zero`(lag: Lag, limit: Int, isFine: Bool) {
    #expect(lag.isAtMost(.milliseconds(limit)) == isFine)
  }

  // MARK: Answers

  @Test(arguments: [
    (
      """
      {
        "clusterID": "LFSC0123456789ABCDEF",
        "isPrimary": true,
        "candidate": true,
        "path": "/var/lib/litefs",
        "primary": {
          "hostname": "node1"
        }
      }

      """,
      LiteFSInfo(
        clusterID: "LFSC0123456789ABCDEF", isPrimary: true, isCandidate: true, path: "/var/lib/litefs",
        primary: "node1")
    ),
    (
      #"{"isPrimary":false,"candidate":false,"path":"/d","primary":{"hostname":""}}"#,
      LiteFSInfo(isPrimary: false, isCandidate: false, path: "/d")
    ),
    (#"{"isPrimary":false,"later":[1,{"a":null}]}"#, LiteFSInfo(isPrimary: false, isCandidate: false)),
  ])
  func `info`(text: String, info: LiteFSInfo) { #expect(LiteFSInfo(json: Array(text.utf8)) == info) }

  @Test(arguments: [
    "", "{}", "[]", "true", "<html>", #"{"isPrimary":"true"}"#, #"{"isPrimary":1}"#, #"{"isPrimary":true"#,
    #"{"isPrimary":true}{}"#, #"{"isPrimary":true,"isPrimary":false}"#, "404 page not found\n",
  ])
  func `no info`(text: String) { #expect(LiteFSInfo(json: Array(text.utf8)) == nil) }

  @Test(arguments: [
    (#"{"type":"init","data":{"isPrimary":true}}"#, LiteFSEvent.role(isPrimary: true, primary: nil)),
    (
      #"{"type":"init","data":{"isPrimary":false,"hostname":"node1"}}"#,
      .role(isPrimary: false, primary: "node1")
    ),
    (#"{"type":"primaryChange","data":{"isPrimary":false}}"#, .role(isPrimary: false, primary: nil)),
    (
      #"{"type":"primaryChange","data":{"isPrimary":false,"hostname":""}}"#,
      .role(isPrimary: false, primary: nil)
    ),
    (
      #"{"type":"tx","db":"app.db","data":{"txID":"0000000000000001","postApplyChecksum":"ab125b121374c4e2","pageSize":4096,"commit":2,"timestamp":"2026-01-02T03:04:05.6Z"}}"#
        + "\n",
      .transaction(
        database: "app.db", Position(transaction: 1, checksum: 0xab12_5b12_1374_c4e2))
    ),
    (#"{"type":"later","data":{}}"#, .other("later")), (#"{"type":"x"}"#, .other("x")),
  ])
  func `events`(line: String, event: LiteFSEvent) { #expect(LiteFSEvent(line: Array(line.utf8)) == event) }

  @Test(arguments: [
    "", "{", #"{"type":"init"}"#, #"{"type":"init","data":{}}"#, #"{"type":"tx","data":{}}"#,
    #"{"type":"tx","db":"a","data":{"txID":"1","postApplyChecksum":"2"}}"#, #"{"data":{"isPrimary":true}}"#,
  ])
  func `no event`(line: String) { #expect(LiteFSEvent(line: Array(line.utf8)) == nil) }

  @Test func `variables`() throws {
    let text = """
      {
      "cmdline": ["litefs","mount"],
      "memstats": {"Alloc":1234,"GCCPUFraction":1.5e-05,"BySize":[{"Size":0},{"Size":8}],"EnableGC":true},
      "store": {"isPrimary":false,"candidate":true,"dbs":{"app.db":{"name":"app.db","txid":"000000000000000a","checksum":"ec3f1536d45c9e35","locks":{"pending":"unlocked"}},"b \\"ü\\"":{"name":"b","txid":"0000000000000000","checksum":"0000000000000000","locks":{}}}}
      }
      """
    let found = try #require(LiteFSVariables(json: Array(text.utf8)))
    #expect(!found.isPrimary && found.isCandidate)
    #expect(
      found.positions
        == Positions([
          "app.db": Position(transaction: 10, checksum: 0xec3f_1536_d45c_9e35),
          "b \"ü\"": Position(transaction: 0, checksum: 0),
        ]))
  }

  @Test(arguments: [
    "{}", #"{"store":null}"#, #"{"store":{"isPrimary":true}}"#,
    #"{"store":{"isPrimary":true,"dbs":{"a":{"txid":"x","checksum":"y"}}}}"#,
  ])
  func `no variables`(text: String) { #expect(LiteFSVariables(json: Array(text.utf8)) == nil) }

  // MARK: JSON

  @Test(arguments: [
    ("null", JSONReader.Value.null), (" true ", .boolean(true)), ("-0", .number("-0")),
    ("1.5e-05", .number("1.5e-05")), ("[]", .array([])), ("{}", .object([:])),
    (#""a\"\\\/\b\f\n\r\t\u00e9\ud83e\udd86""#, .string("a\"\\/\u{8}\u{C}\n\r\té🦆")),
    ("[1, [2]]", .array([.number("1"), .array([.number("2")])])),
    (#"{"a":{"b":"\u003c"}}"#, .object(["a": .object(["b": .string("<")])])),
  ])
  func `values`(text: String, value: JSONReader.Value) { #expect(JSONReader.read(Array(text.utf8)) == value) }

  @Test(arguments: [
    "", " ", "nul", "TRUE", "01", "1.", ".5", "+1", "1e", "[1,]", "[1", "{\"a\"}", "{\"a\":1,}", "{a:1}",
    "'a'",
    "\"a", "\"\\x\"", "\"\\u12\"", "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\"", "\"a\nb\"", "1 2",
    "[1 2]", "\u{FEFF}1",
    "NaN", "// a\n1",
  ])
  func `no values`(text: String) { #expect(JSONReader.read(Array(text.utf8)) == nil) }

  @Test func `bounds`() {
    #expect(JSONReader.read(Array(repeating: UInt8(ascii: "["), count: 100_000)) == nil)
    #expect(JSONReader.read([0x22, 0xFF, 0x22]) == nil)
    let long =
      [UInt8(ascii: "\"")] + [UInt8](repeating: 0x61, count: JSONReader.maximumSize) + [UInt8(ascii: "\"")]
    #expect(JSONReader.read(long) == nil)
    let deep = String(repeating: "[", count: 63) + String(repeating: "]", count: 63)
    #expect(JSONReader.read(Array(deep.utf8)) != nil)
  }
}
