import Glibc
import Testing

@Suite("exec: exit codes", .drivesProcesses)
struct ExecExitCodeTests {
  @Test("the child's exit code is ours", arguments: [0, 1, 2, 42, 125, 126, 127, 128, 200, 255])
  func exitCode(code: Int32) throws {
    let outcome = try Stage.result(.probe(["exit", "\(code)"]))
    #expect(outcome.ending == .exited(code))
    #expect(outcome.errors == "")
  }

  @Test(
    "death by a signal is 128+n",
    arguments: [SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGKILL, SIGSEGV, SIGPIPE, SIGTERM, SIGUSR1, 37, 64])
  func deathBySignal(signal: Int32) throws {
    #expect(try Stage.result(.probe(["kill-self", "\(signal)"])).ending == .exited(128 + signal))
  }

  @Test("an exit code that is expected becomes 0, another one does not")
  func expectedCodes() throws {
    let options = ExecOptions(expectedCodes: [143, 3])
    #expect(try Stage.result(.probe(["exit", "3"], options: options)).ending == .exited(0))
    #expect(try Stage.result(.probe(["kill-self", "TERM"], options: options)).ending == .exited(0))
    #expect(try Stage.result(.probe(["exit", "4"], options: options)).ending == .exited(4))
  }

  @Test("every code from 1 to 255 can be expected at once")
  func allCodesExpected() throws {
    let options = ExecOptions(expectedCodes: Array(1...255))
    for code in [1, 137, 255] {
      #expect(try Stage.result(.probe(["exit", "\(code)"], options: options)).ending == .exited(0))
    }
  }

  @Test("a child that stops by TERM tells so: 143, and its own code when it traps")
  func requestedStop() throws {
    for (words, code) in [(["family"], Int32(0)), (["on-signal", "--exit-on", "TERM=7"], 7)] {
      try Stage.run(.probe(words)) { stage in
        try stage.line("ready")
        try stage.send(SIGTERM)
        #expect(try stage.waitForEnd() == .exited(code))
      }
    }
    try Stage.run(.exec(["/bin/sleep", "1000"])) { stage in
      try eventually("sleep runs") { ProcessEntry.children(of: stage.pid).first?.name == "sleep" }
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(143))
    }
  }

  @Test(
    "E05: a child that ends with 127 or 126 by itself is not taken for a failed start", arguments: [126, 127])
  func ownCode(code: Int32) throws {
    let outcome = try Stage.result(.probe(["exit", "\(code)"]))
    #expect(outcome.ending == .exited(code))
    #expect(outcome.errors == "")
  }

  @Test("E07: a child that ends at once keeps its status, a hundred times over")
  func instantEnd() throws {
    for round in 0..<100 {
      let code = Int32(round % 100 + 1)
      #expect(try Stage.result(.probe(["exit", "\(code)"], options: ExecOptions())).ending == .exited(code))
    }
  }
}
