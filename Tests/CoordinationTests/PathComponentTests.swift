import Coordination
import Testing

struct PathComponentTests {
  @Test(arguments: [
    ("v1.2.3", "v1.2.3"), ("2024-01-01_10:00", "2024-01-01_10:00"), ("dev-8c069df5", "dev-8c069df5"),
    ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"), ("..", "%2E."), (".", "%2E"), (".hidden", "%2Ehidden"),
    ("a/b", "a%2Fb"), ("a b", "a%20b"), ("a\nb", "a%0Ab"), ("a\u{0}b", "a%00b"), ("100%", "100%25"),
    ("é", "%C3%A9"), ("e\u{301}", "e%CC%81"), ("~", "%7E"), ("\\", "%5C"),
  ])
  func `a run ID becomes the name of one file`(text: String, expected: String) {
    #expect(PathComponent.escaped(text) == expected)
  }

  @Test(arguments: [40, 41, 120, 121, 300, 5000])
  func `a long one is cut, and stays its own`(length: Int) {
    for character in ["a", "/", "é"] {
      let text = String(repeating: character, count: length)
      let name = PathComponent.escaped(text)
      #expect(name.utf8.count <= 120)
      #expect(!name.contains("/"))
      #expect(name != PathComponent.escaped(text + "b"))
      #expect(name != PathComponent.escaped("b" + text))
    }
  }

  @Test func `different texts have different names, none of them a path`() {
    let pieces = [
      "", ".", "..", "/", "%", "%2E", "2E", "a", "A", "~", "-", " ", "\n", "\u{0}", "é", "e\u{301}",
    ]
    var texts: Set<[UInt8]> = []
    var names: Set<String> = []
    for first in pieces {
      for second in pieces {
        for third in pieces {
          let text = first + second + third
          texts.insert(Array(text.utf8))
          let name = PathComponent.escaped(text)
          names.insert(name)
          #expect(!name.contains("/") && !name.hasPrefix("."))
          #expect(name.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f })
        }
      }
    }
    #expect(names.count == texts.count)
  }

  @Test func `a cut name is not the name of another text`() {
    let cut = PathComponent.escaped(String(repeating: "a", count: 200))
    #expect(PathComponent.escaped(cut) != cut)
  }

  @Test func `the files of a release lie in their directories, whatever it is called`() {
    let layout = FileLayout(stateDirectory: "/state", markerDirectory: "/tmp/autoinit", runID: "../x")
    #expect(layout.record == "/state/releases/%2E.%2Fx.release")
    #expect(layout.infrastructureLock == "/state/infrastructure.lock")
    #expect(layout.marker == "/tmp/autoinit/.autoinit_node_%2E.%2Fx.marker")
    #expect(layout.markerLock == "/tmp/autoinit/.autoinit_node_%2E.%2Fx.lock")
  }
}
