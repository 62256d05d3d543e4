import EventLoop
import Glibc
import Testing

struct SignalTests {
  // Numbers of Linux on x86_64 and arm64, signal(7).
  static let table: [(String, CInt)] = [
    ("HUP", 1), ("INT", 2), ("QUIT", 3), ("ILL", 4), ("TRAP", 5), ("ABRT", 6), ("BUS", 7), ("FPE", 8),
    ("KILL", 9), ("USR1", 10), ("SEGV", 11), ("USR2", 12), ("PIPE", 13), ("ALRM", 14), ("TERM", 15),
    ("STKFLT", 16), ("CHLD", 17), ("CONT", 18), ("STOP", 19), ("TSTP", 20), ("TTIN", 21), ("TTOU", 22),
    ("URG", 23), ("XCPU", 24), ("XFSZ", 25), ("VTALRM", 26), ("PROF", 27), ("WINCH", 28), ("IO", 29),
    ("PWR", 30), ("SYS", 31), ("RTMIN", 34), ("RTMIN+1", 35), ("RTMIN+3", 37), ("RTMIN+30", 64),
  ]

  @Test(arguments: table)
  func `a signal is known by name, in any case, with and without SIG, and by number`(
    name: String, number: CInt
  ) {
    for text in [name, "SIG" + name, name.lowercased(), "sig" + name.lowercased(), "\(number)"] {
      #expect(Signal(name: text)?.rawValue == number, "\(text)")
    }
    #expect("\(Signal(rawValue: number))" == name)
  }

  @Test(arguments: [
    "", "SIG", "0", "65", "-1", "TERMX", "TER", "RTMIN+31", "RTMIN-1", "RTMIN+", "RTMIN+x", "RTMAX+1",
    "SIGSIGTERM", " TERM", "9999999999999",
  ])
  func `what is no signal is none`(text: String) {
    #expect(Signal(name: text) == nil)
  }

  @Test func `numbers that glibc keeps for itself have no name`() {
    #expect("\(Signal(rawValue: 32))" == "32")
    #expect("\(Signal(rawValue: 33))" == "33")
    #expect("\(Signal(rawValue: 0))" == "0")
  }

  @Test func `the constants are the kernel's`() {
    #expect(Signal.terminate.rawValue == SIGTERM)
    #expect(Signal.kill.rawValue == SIGKILL)
    #expect(Signal.child.rawValue == SIGCHLD)
    #expect(Signal.containerHalt.rawValue == 37)
  }
}
