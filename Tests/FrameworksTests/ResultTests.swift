import Testing

@testable import Frameworks

/// What programs leave is read strictly.
struct ResultTests {
  static let texts = [
    "", "-", "--", "%", "%2D", "a b", " ", "\n", "\u{0}", "end", "e\u{301}", "日本語", "🇩🇪", "\u{7F}", "~!\"#",
  ]

  @Test(arguments: texts)
  func `a text is one field and reads back`(text: String) throws {
    let field = ResultLines.escaped(text)
    #expect(field.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F })
    let lines = try #require(ResultLines.read(Array("\(field) x\n".utf8)))
    #expect(lines.map { $0.map { Array($0.utf8) } } == [[Array(text.utf8), Array("x".utf8)]])
  }

  @Test(arguments: [
    "a  b\n", " a\n", "a \n", "\n", "%\n", "%2\n", "%2d\n", "%GG\n", "ü\n", "a\tb\n", "\u{7F}\n",
  ])
  func `what is no field is no line`(text: String) {
    #expect(ResultLines.read(Array(text.utf8)) == nil)
  }

  @Test func `a line without its end does not count`() {
    #expect(ResultLines.read(Array("a\nb".utf8)) == [["a"]])
  }

  @Test(
    arguments: [
      (["n"], nil), (["t"], true), (["f"], false), (["i:-5"], -5), (["d:1.5"], 1.5), (["s:"], ""),
      (["s:a:b"], "a:b"), (["l:0"], []), (["l:2", "n", "s:x"], [nil, "x"]), (["x:a.B"], .other("a.B")),
      (["i:99999999999999999999"], .other("int")), (["m:1", "s:k", "l:1", "t"], ["k": [true]]),
      (["s:e\u{301}"], "e\u{301}"), (["s:\u{301}"], "\u{301}"),
    ] as [([String], PythonValue)])
  func `a value is read from its fields`(fields: [String], expected: PythonValue) {
    #expect(PythonValue(fields: fields) == expected)
  }

  @Test(
    arguments: [
      [], [""], ["q"], ["i:"], ["i"], ["l:1"], ["l:-1"], ["l:2", "n"], ["n", "n"], ["m:1", "s:k"],
      ["m:1", "i:1", "n"], ["l:9223372036854775807", "n"], Array(repeating: "l:1", count: 100_000), ["d:x"],
    ])
  func `fields that are not exactly one value are none`(fields: [String]) {
    #expect(PythonValue(fields: fields) == nil)
  }

  static let report = """
    supervisor-django 1
    python 3.11.7 /usr/bin/python
    directory /app
    manage yes
    module site.settings manage.py
    django 5.2 /x/django/__init__.py
    setting INSTALLED_APPS l:1 s:autoinit
    cache default m:1 s:BACKEND s:x
    database default m:0
    redis_key :1:a:{run_id}
    skipped X it%20failed
    file /app/manage.py 123 45
    absent /app/.env
    variable HOME
    variable HOSTNAME
    end

    """

  @Test func `a report is read`() throws {
    let report = try DjangoReport.decode(Array(Self.report.utf8), ending: "")
    #expect(report.installedApps == ["autoinit"])
    #expect(report.skipped == [DjangoReport.Skipped(name: "X", reason: "it failed")])
    #expect(report.files.map(\.path) == ["/app/manage.py", "/app/.env"])
    #expect(report.files.first?.state == DjangoReport.FileStamp.State(modifiedAt: 123, size: 45))
  }

  @Test func `a report cut short anywhere is none`() {
    let bytes = Array(Self.report.utf8)
    for length in 0..<bytes.count {
      #expect(throws: DjangoFailure.self, "cut at \(length)") {
        try DjangoReport.decode(Array(bytes.prefix(length)), ending: "exit code 0")
      }
    }
  }

  @Test(
    arguments: [
      ("", .noResult), ("supervisor-django 2\nend\n", .malformed), ("\u{7F}ELF\n", .malformed),
      ("x\n", .malformed),
      ("supervisor-django 1\nend\n", .malformed), ("supervisor-django 1\nmystery 1\nend\n", .malformed),
      ("supervisor-django 1\nsetting A i:\nend\n", .malformed),
      ("supervisor-django 1\nfile /a b c\nend\n", .malformed),
      ("supervisor-django 1\nerror mystery a b 1\nend\n", .malformed),
      ("supervisor-django 1\nerror no_django a - 0\n", .noDjango),
      (report + "end\n", .malformed), (report + "variable X\n", .malformed),
    ] as [(String, DjangoFailure.Kind)])
  func `what is no report says why`(text: String, kind: DjangoFailure.Kind) {
    let failure = #expect(throws: DjangoFailure.self) {
      try DjangoReport.decode(Array(text.utf8), ending: "exit code 1")
    }
    #expect(failure?.kind == kind)
    #expect(failure?.description.isEmpty == false)
  }

  @Test(
    arguments: [
      "supervisor-django 1\nstarted a x\n", "supervisor-django 1\ndone a 1 2 0.1\n",
      "supervisor-django 1\nstarted a 1\ndone b 1 2 0.1\n",
      "supervisor-django 1\nstarted a 1\ndone a 1 2 0.1\ndone a 1 2 0.1\n", "supervisor-django 1\nend\nend\n",
      "supervisor-django 3\n", "a\n", "supervisor-django 1\nfailed a 1 2 0.1 b c d e\n",
    ])
  func `results of hooks that make no sense are none`(text: String) {
    #expect(HookResults.decode(Array(text.utf8)) == nil)
  }

  @Test func `hooks that nobody heard of any more are not done`() throws {
    let text = """
      supervisor-django 1
      hook a.h node a a.A
      hook b.h node b b.B
      started a.h 1
      done a.h 1 2 0.1
      started b.h 3

      """
    let results = try #require(HookResults.decode(Array(text.utf8)))
    #expect(!results.isComplete)
    #expect(results.unfinished == ["b.h"])
    #expect(results.problem == "hook b.h ended the process, or the process was killed in it")
    let nothing = try #require(HookResults.decode([]))
    #expect(nothing.problem == "the program that calls the hooks came to no end")
  }
}
