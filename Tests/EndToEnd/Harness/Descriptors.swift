import CEndToEnd
import Glibc

/// What went wrong between a test and the processes it drives, with all that is known about it.
struct HarnessError: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) {
    self.description = description
  }

  /// An error of a system call, with the text of `errno`.
  static func system(_ call: String, _ number: Int32 = errno) -> HarnessError {
    HarnessError("\(call): \(String(cString: strerror(number)))")
  }
}

/// A file descriptor that is closed when its owner goes away. Never shared between threads.
final class Descriptor {
  private(set) var number: Int32

  /// Takes over `number` and moves it out of the way of 0–3, which the started programs use.
  init(adopting number: Int32, from call: String) throws {
    guard number >= 0 else { throw HarnessError.system(call) }
    let moved = fcntl(number, F_DUPFD_CLOEXEC, 10)
    let failure = errno
    Glibc.close(number)
    guard moved >= 0 else { throw HarnessError.system("dup of \(call)", failure) }
    self.number = moved
  }

  func close() {
    if number >= 0 { Glibc.close(number) }
    number = -1
  }

  var isOpen: Bool { number >= 0 }

  func makeNonBlocking() {
    _ = fcntl(number, F_SETFL, fcntl(number, F_GETFL) | O_NONBLOCK)
  }

  deinit { close() }

  /// A pipe: what is written to `write` is read from `read`.
  static func pipe() throws -> (read: Descriptor, write: Descriptor) {
    var ends: [Int32] = [-1, -1]
    guard end_to_end_pipe(&ends) == 0 else { throw HarnessError.system("pipe2") }
    return (
      try Descriptor(adopting: ends[0], from: "pipe2"), try Descriptor(adopting: ends[1], from: "pipe2")
    )
  }

  static func socketPair() throws -> (Descriptor, Descriptor) {
    var ends: [Int32] = [-1, -1]
    let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
    guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else { throw HarnessError.system("socketpair") }
    return (
      try Descriptor(adopting: ends[0], from: "socketpair"),
      try Descriptor(adopting: ends[1], from: "socketpair")
    )
  }

  static func null() throws -> Descriptor {
    try Descriptor(adopting: open("/dev/null", O_RDWR | O_CLOEXEC), from: "open /dev/null")
  }
}

/// A pseudo terminal. The program under test gets `slave`; the test types and reads at `master`.
final class Terminal {
  let master: Descriptor
  let slave: Descriptor

  init() throws {
    var ends: (master: Int32, slave: Int32) = (-1, -1)
    guard end_to_end_open_terminal(&ends.master, &ends.slave) == 0 else {
      throw HarnessError.system("a new terminal")
    }
    master = try Descriptor(adopting: ends.master, from: "the master")
    slave = try Descriptor(adopting: ends.slave, from: "the slave")
  }

  /// Changes the window size, as a terminal emulator does; the kernel tells the foreground group.
  func resize(rows: UInt16, columns: UInt16) throws {
    guard end_to_end_resize_terminal(master.number, rows, columns) == 0 else {
      throw HarnessError.system("TIOCSWINSZ")
    }
  }
}
