import Glibc
import Testing

@testable import Settings

@Suite struct SettingsFileTests {
  /// A directory of its own, removed at the end.
  final class Directory {
    let path: String

    init() throws {
      var template = Array("/tmp/settings-test-XXXXXX".utf8CString)
      path = try #require(mkdtemp(&template).map { String(cString: $0) })
    }

    deinit {
      for name in ["a.yml", "b.yml", "pipe", "large.yml"] { unlink("\(path)/\(name)") }
      rmdir(path)
    }

    func write(_ name: String, _ bytes: [UInt8]) throws -> String {
      let descriptor = open("\(path)/\(name)", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
      try #require(descriptor >= 0)
      defer { close(descriptor) }
      var rest = bytes[...]
      while !rest.isEmpty {
        let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        try #require(count > 0)
        rest = rest.dropFirst(count)
      }
      return "\(path)/\(name)"
    }
  }

  private func load(
    _ path: String?, variable: String? = nil, searchPaths: [String] = []
  ) -> (settings: EffectiveSettings?, report: [String]) {
    let outcome = SettingsLoader.load(
      path: path, environment: { $0 == "SUPERVISOR_SETTINGS" ? variable : nil }, searchPaths: searchPaths)
    return switch outcome {
    case .settings(let settings, let notes): (settings, notes.map(\.description))
    case .failure(let problems): (nil, problems.map(\.description))
    }
  }

  @Test func theFlagComesBeforeTheVariableAndBothBeforeTheSearch() throws {
    let directory = try Directory()
    let a = try directory.write("a.yml", Array("run_id: a".utf8))
    let b = try directory.write("b.yml", Array("run_id: b".utf8))
    #expect(load(a, variable: b).settings?.runID == "a")
    #expect(load(a, variable: b).settings?.file == a)
    #expect(load(nil, variable: b, searchPaths: [a]).settings?.runID == "b")
    #expect(load("", variable: "", searchPaths: ["/nope/x.yml", a, b]).settings?.runID == "a")
    #expect(load(nil, searchPaths: ["\(a)/x.yml", b]).settings?.runID == "b")
    #expect(load(nil, searchPaths: ["/nope/x.yml"]).settings?.file == nil)
    #expect(load(nil, searchPaths: []).settings != nil)
  }

  @Test func aNamedFileMustExist() {
    #expect(
      load("/nope/x.yml").report == [
        "--settings: error: the settings file /nope/x.yml cannot be opened: No such file or directory; "
          + "check the path; it counts from the working directory unless it starts with '/'"
      ])
    #expect(
      load(nil, variable: "/nope/x.yml").report.first?.hasPrefix("SUPERVISOR_SETTINGS: error: ") == true)
    #expect(
      load("/tmp").report == ["--settings: error: the settings file /tmp is a directory; name the file in it"]
    )
    #expect(load("/tmp\u{0}x").report.first?.contains("has a NUL in its name") == true)
  }

  @Test func aFoundFileThatIsNoFileIsAnError() {
    #expect(
      load(nil, searchPaths: ["/tmp"]).report == [
        "error: the settings file /tmp is a directory; name the file in it"
      ])
  }

  @Test func theEmptyDeviceMeansNoSettings() {
    #expect(load("/dev/null").settings?.timeout == .seconds(300))
  }

  @Test func anEndlessDeviceIsCutOff() {
    #expect(
      load("/dev/zero").report == [
        "/dev/zero:1:1: error: the file is larger than 1 MiB; is this the right file?"
      ])
  }

  @Test func aPipeIsRead() throws {
    var ends: [Int32] = [0, 0]
    try #require(pipe(&ends) == 0)
    let text = Array("run_id: piped\n".utf8)
    #expect(write(ends[1], text, text.count) == text.count)
    close(ends[1])
    #expect(load("/dev/fd/\(ends[0])").settings?.runID == "piped")
    close(ends[0])
  }

  @Test func aPipeWithoutWriterDoesNotBlock() throws {
    let directory = try Directory()
    try #require(mkfifo("\(directory.path)/pipe", 0o600) == 0)
    #expect(load("\(directory.path)/pipe").report.first?.hasSuffix("is a pipe that nobody wrote to") == true)
  }

  @Test func positionsNameTheFileAsGiven() throws {
    let directory = try Directory()
    let a = try directory.write("a.yml", Array("timeout: x".utf8))
    #expect(load(a).report.first?.hasPrefix("\(a):1:10: error: timeout: ") == true)
  }

  @Test func largeFilesAreReadWholeUpToTheLimit() throws {
    let directory = try Directory()
    let comment = Array("#".utf8) + [UInt8](repeating: 0x78, count: YAMLReader.maximumSize - 13)
    let fits = try directory.write("large.yml", comment + Array("\nrun_id: end".utf8))
    #expect(load(fits).settings?.runID == "end")
    let exceeds = try directory.write("large.yml", comment + Array("\nrun_id: end1".utf8))
    #expect(
      load(exceeds).report == [
        "\(exceeds):1:1: error: the file is larger than 1 MiB; is this the right file?"
      ])
  }
}
