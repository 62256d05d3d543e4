import Glibc
import Testing

@testable import Processes

struct EnvironmentTests {
  private func raw(_ bytes: [UInt8]) -> RawString {
    var string = RawString("")
    string.bytes = bytes
    return string
  }

  @Test func `bytes that are no text survive, and show as replacement characters`() {
    let bytes: [UInt8] = [0x41, 0xff, 0xfe, 0x3d, 0x80, 0x0a]
    let string = raw(bytes)
    #expect(string.description == "A\u{FFFD}\u{FFFD}=\u{FFFD}\n")
    let copied = CStringVector.with([string]) { vector in vector[0].map { RawString(cString: $0) } }
    #expect(copied == string)
  }

  @Test func `a string is cut at a NUL, which the kernel cannot carry`() {
    #expect(RawString("a\u{0}b").bytes == [0x61])
    #expect(RawString("").bytes == [])
  }

  @Test func `the first of several entries counts, as for getenv`() {
    let environment = ProcessEnvironment(["A=1", "A=2", "AB=3", "B", "=odd", "", "C="])
    #expect(environment.value(of: "A") == "1")
    #expect(environment.value(of: "AB") == "3")
    #expect(environment.value(of: "B") == nil)
    #expect(environment.value(of: "C") == "")
    #expect(environment.value(of: "D") == nil)
    #expect(environment.names == ["A", "A", "AB", "C"])
  }

  @Test func `setting replaces all entries of the name and leaves everything else in its order`() {
    var environment = ProcessEnvironment(["A=1", "B=2", "A=3", "no equals", "AB=4", "A"])
    environment.set("A", to: raw([0xff]))
    #expect(environment.entries == ["B=2", "no equals", "AB=4", "A", raw([0x41, 0x3d, 0xff])])
    environment.remove("B")
    environment.remove("missing")
    #expect(environment.entries.count == 4)
    #expect(environment.value(of: "A")?.bytes == [0xff])
  }

  @Test func `names and values that are no UTF-8 are left as they are`() {
    let entry = raw([0xc3, 0x28, 0x3d, 0xff])
    var environment = ProcessEnvironment([entry, "A=1"])
    environment.set("A", to: "2")
    #expect(environment.entries == [entry, "A=2"])
  }

  @Test func `an environment comes from the kernel's vector byte for byte`() {
    let entries = ["A=1", raw([0xff, 0x3d]), "A=2", ""] as [RawString]
    let copied = CStringVector.with(entries) { ProcessEnvironment(vector: $0) }
    #expect(copied.entries == entries)
  }

  @Test func `no strings are an empty vector`() {
    CStringVector.with([]) { #expect($0[0] == nil) }
  }

  // MARK: Where a command is looked for

  @Test(arguments: [
    ("ls", "/bin:/usr/bin", ["/bin/ls", "/usr/bin/ls"]),
    ("ls", "", ["ls"]),
    ("ls", ":/bin", ["ls", "/bin/ls"]),
    ("ls", "/bin:", ["/bin/ls", "ls"]),
    ("ls", "/a::/b", ["/a/ls", "ls", "/b/ls"]),
    ("ls", "relative", ["relative/ls"]),
    ("./ls", "/bin", ["./ls"]),
    ("/bin/ls", "/usr/bin", ["/bin/ls"]),
    ("a/b", "/bin", ["a/b"]),
    ("", "/bin", [""]),
  ])
  func `the candidates are those of execvp`(command: String, path: String, expected: [String]) {
    #expect(candidates(command, path) == expected)
  }

  @Test func `without PATH the usual one is searched`() {
    let found = candidates("x", nil)
    #expect(found.first == "/usr/local/sbin/x")
    #expect(found.last == "/bin/x")
    #expect(found.count == 6)
  }

  private func candidates(_ command: String, _ path: String?) -> [String] {
    let found =
      path.map { path in path.withCString { ExecutableSearch.candidates(for: command, path: $0) } }
      ?? ExecutableSearch.candidates(for: command, path: nil)
    defer { for candidate in found { free(candidate) } }
    return found.compactMap { $0.map { String(cString: $0) } }
  }
}
