import Glibc
import Testing

@Suite("exec: finding and starting the command", .drivesProcesses)
struct ExecStartTests {
  @Test("E01: a command that is in no folder of PATH: 127, and the message names it and the PATH searched")
  func notFoundInPath() throws {
    var launch = try Launch.exec(["no-such-command-here"])
    launch.environment = ["PATH=/usr/bin:/nowhere-to-be-found"].map { Array($0.utf8) }
    let outcome = try Stage.result(launch)
    #expect(outcome.ending == .exited(127))
    #expect(outcome.output == "")
    #expect(outcome.errors.contains("no-such-command-here"))
    #expect(outcome.errors.contains("/usr/bin:/nowhere-to-be-found"))
    #expect(outcome.errors.split(separator: "\n").count == 1)
  }

  @Test(
    "E01: a path that does not exist: 127", arguments: ["/nowhere/at-all", "./missing", "/etc/passwd/below"])
  func missingPath(path: String) throws {
    let outcome = try Stage.result(.exec([path]))
    #expect(outcome.ending == .exited(127))
    #expect(outcome.errors.contains(path))
  }

  @Test("E02: found but not executable, or a folder: 126 and the path", arguments: ["file", "folder"])
  func notExecutable(kind: String) throws {
    try withTemporaryDirectory { folder in
      let path = folder + "/thing"
      if kind == "file" { try writeFile(path, "#!/bin/sh\n") } else { mkdir(path, 0o755) }
      let direct = try Stage.result(.exec([path]))
      #expect(direct.ending == .exited(126))
      #expect(direct.errors.contains(path))
      var launch = try Launch.exec(["thing"])
      launch.environment = [Array("PATH=/nowhere-to-be-found:\(folder)".utf8)]
      let searched = try Stage.result(launch)
      #expect(searched.ending == .exited(126))
      #expect(searched.errors.contains(path))
    }
  }

  @Test("E03: a script whose interpreter is missing: 127, naming interpreter and script")
  func missingInterpreter() throws {
    try withTemporaryDirectory { folder in
      let script = folder + "/script"
      try writeFile(script, "#!/nowhere/interpreter -x\n", mode: 0o755)
      let outcome = try Stage.result(.exec([script]))
      #expect(outcome.ending == .exited(127))
      #expect(outcome.errors.contains("interpreter"))
      #expect(outcome.errors.contains("/nowhere/interpreter"))
      #expect(outcome.errors.contains(script))
    }
  }

  @Test("E03: a script with Windows line ends says so")
  func windowsLineEnds() throws {
    try withTemporaryDirectory { folder in
      let script = folder + "/script"
      try writeFile(script, "#!/bin/sh\r\necho hello\r\n", mode: 0o755)
      let outcome = try Stage.result(.exec([script]))
      #expect(outcome.ending == .exited(127))
      #expect(outcome.errors.contains("/bin/sh\\r"))
      #expect(outcome.errors.contains("line ending"))
    }
  }

  @Test(
    "E04: an empty file, a text without #! and a foreign program: 126 with the reason, and no shell tries it",
    arguments: ["empty", "text", "foreign"])
  func notAProgram(kind: String) throws {
    try withTemporaryDirectory { folder in
      let path = folder + "/thing"
      switch kind {
      case "empty": try writeFile(path, "", mode: 0o755)
      case "text": try writeFile(path, "touch \(folder)/run-by-a-shell\n", mode: 0o755)
      default: try writeFile(path, "\u{7f}ELF" + String(repeating: "\u{2}", count: 200), mode: 0o755)
      }
      let outcome = try Stage.result(.exec([path]))
      #expect(outcome.ending == .exited(126))
      #expect(outcome.errors.contains(path))
      #expect(outcome.errors.lowercased().contains("exec format error"))
      #expect(access(folder + "/run-by-a-shell", F_OK) != 0)
    }
  }

  @Test("E06: no process to be had: one message that is no “not found”, and a code of its own")
  func noProcess() throws {
    let rules = ["--seccomp", "clone:EAGAIN", "--seccomp", "clone3:EAGAIN"]
    let outcome = try Stage.result(.probe(["exit", "0"], state: rules))
    #expect(outcome.ending == .exited(70))
    #expect(outcome.errors.contains("Resource temporarily unavailable"))
  }

  @Test("E15: argument bytes that are no UTF-8, empty arguments and line feeds reach the child as they are")
  func argumentBytes() throws {
    var launch = try Launch.probe(["state"])
    let odd: [[UInt8]] = [
      [0xff, 0xfe, 0x80], [], [0x0a, 0x20], [0xc3, 0x28], Array("ünï".utf8), [0xed, 0xa0, 0x80],
    ]
    launch.command += odd
    let state = try ChildState(text: Stage.result(launch).output)
    #expect(Array(state.arguments.suffix(odd.count)) == odd)
    #expect(state.arguments.count == odd.count + 2)
  }

  @Test("E15: a command whose own path is no UTF-8 is found")
  func commandBytes() throws {
    try withTemporaryDirectory { folder in
      let path = Array(folder.utf8) + Array("/x".utf8) + [0xff, 0xfe]
      let target = Array(Programs.probe.utf8CString)
      let linked = (path + [0]).withUnsafeBufferPointer { bytes in
        bytes.withMemoryRebound(to: CChar.self) { name in
          name.baseAddress.map { symlink(target, $0) } ?? -1
        }
      }
      #expect(linked == 0)
      var launch = try Launch.exec([])
      launch.command += [path, Array("exit".utf8), Array("6".utf8)]
      #expect(try Stage.result(launch).ending == .exited(6))
    }
  }

  @Test("E16: environment bytes, entries without =, duplicates and empty names: as they are, in order")
  func environmentBytes() throws {
    var launch = try Launch.probe(["state"])
    launch.environment = [
      Array("PATH=/usr/bin:/bin".utf8), Array("A=1".utf8), Array("A=2".utf8), Array("no equals".utf8),
      Array("=unnamed".utf8), Array("EMPTY=".utf8), [0x42, 0x3d, 0xff, 0xfe], [0xff, 0x3d, 0x31], [],
    ]
    #expect(try ChildState(text: Stage.result(launch).output).environment == launch.environment)
  }

  @Test("E16: an empty environment stays empty")
  func emptyEnvironment() throws {
    var launch = try Launch.probe(["state"])
    launch.environment = []
    #expect(try ChildState(text: Stage.result(launch).output).environment == [])
  }

  @Test("E17: a command line that is too long for the kernel is called that, not “not found”")
  func argumentsTooLong() throws {
    try withTemporaryDirectory { folder in
      // The interpreter line lengthens the script's command line by more than our own words shorten it.
      let script = folder + "/script"
      try writeFile(
        script, "#!" + Programs.probe + " " + String(repeating: "x", count: 150) + "\n", mode: 0o755)
      let base = try Launch.exec([script], state: ["--limit", "stack=600000"])
      // The largest environment with which the supervisor itself still starts, to 32 bytes.
      func launch(_ size: Int) -> Launch {
        var launch = base
        let whole = [UInt8](repeating: 0x61, count: 4096)
        launch.environment = Array(repeating: whole, count: size / 4096)
        launch.environment.append([UInt8](repeating: 0x62, count: size % 4096))
        return launch
      }
      var (fits, tooLong) = (1000, 400_000)
      while tooLong - fits > 32 {
        let middle = (fits + tooLong) / 2
        let failed = try Stage.run(launch(middle)) { $0.startFailure }
        if failed == nil { fits = middle } else { tooLong = middle }
      }
      let outcome = try Stage.result(launch(fits))
      #expect(outcome.ending == .exited(126))
      #expect(outcome.errors.contains(script))
      #expect(outcome.errors.contains("too long"))
      #expect(outcome.errors.firstMatch(of: /\([0-9]+ bytes/) != nil)
    }
  }

  @Test("E18: PATH is the child's: first match wins, what may not be executed is passed over")
  func pathOrder() throws {
    try withTemporaryDirectory { folder in
      for (name, mode) in [("a", mode_t(0o644)), ("b", 0o755), ("c", 0o755)] {
        mkdir("\(folder)/\(name)", 0o755)
        try writeFile("\(folder)/\(name)/thing", "#!/bin/sh\necho \(name)\n", mode: mode)
      }
      var launch = try Launch.exec(["thing"])
      launch.environment = [Array("PATH=/nowhere-to-be-found:\(folder)/a:\(folder)/b:\(folder)/c".utf8)]
      #expect(try Stage.result(launch).output == "b\n")
    }
  }

  @Test(
    "E18: relative commands and relative PATH entries count from the child's working folder",
    arguments: ["./thing", "sub/../thing", "thing"])
  func relativeCommand(command: String) throws {
    try withTemporaryDirectory { folder in
      mkdir(folder + "/sub", 0o755)
      try writeFile(folder + "/thing", "#!/bin/sh\npwd\n", mode: 0o755)
      for path in ["PATH=/usr/bin::/bin", "PATH=.", "PATH=sub/.."] {
        var launch = try Launch.exec([command], state: ["--cwd", folder])
        launch.environment = [Array(path.utf8)]
        #expect(try Stage.result(launch).output == folder + "\n")
      }
    }
  }

  @Test("E18: without PATH the usual folders are searched; an empty PATH is the working folder")
  func noPath() throws {
    var launch = try Launch.exec(["true"])
    launch.environment = []
    #expect(try Stage.result(launch).ending == .exited(0))
    launch.environment = [Array("PATH=".utf8)]
    launch.state = ["--cwd", "/bin"]
    #expect(try Stage.result(launch).ending == .exited(0))
    launch.state = ["--cwd", "/proc"]
    #expect(try Stage.result(launch).ending == .exited(127))
  }

  @Test("an empty command is refused with 127")
  func emptyCommand() throws {
    let outcome = try Stage.result(.exec([""]))
    #expect(outcome.ending == .exited(127))
    #expect(outcome.errors != "")
  }
}
