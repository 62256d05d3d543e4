import CEndToEnd
import Glibc

/// Starts a program with exactly these arguments, environment and descriptors (`descriptors[n]` becomes n),
/// an empty signal mask, default dispositions and a session of its own. Nothing else is inherited.
func spawn(_ command: [[UInt8]], environment: [[UInt8]], descriptors: [Int32]) throws -> pid_t {
  return try withCStrings(command) { arguments in
    try withCStrings(environment) { environment in
      var pid: pid_t = 0
      let failure = end_to_end_spawn(&pid, arguments, environment, descriptors, Int32(descriptors.count))
      guard failure == 0 else { throw HarnessError.system("spawn of \(Programs.probe)", failure) }
      return pid
    }
  }
}

/// A zero-terminated array of zero-terminated copies of `strings`.
private func withCStrings<Result>(
  _ strings: [[UInt8]], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) throws -> Result
) rethrows -> Result {
  let array = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>.allocate(capacity: strings.count + 1)
  array.initialize(repeating: nil, count: strings.count + 1)
  for (index, string) in strings.enumerated() {
    let copy = UnsafeMutablePointer<CChar>.allocate(capacity: string.count + 1)
    for (offset, byte) in string.enumerated() { copy[offset] = CChar(bitPattern: byte) }
    copy[string.count] = 0
    array[index] = copy
  }
  defer {
    for index in strings.indices { array[index]?.deallocate() }
    array.deallocate()
  }
  return try body(array)
}

/// The descriptors of a program under test: the ends it gets and the ends the test keeps.
struct GivenStreams {
  let child: (Descriptor, Descriptor, Descriptor)
  var input: Descriptor?
  var output: Descriptor?
  var errors: Descriptor?
  var readsErrors = true

  init(_ streams: Streams) throws {
    if case .terminal(let terminal) = streams {
      child = (terminal.slave, terminal.slave, terminal.slave)
      // The test reads and types through copies, so that the stage can close them on its own.
      output = try Descriptor(adopting: dup(terminal.master.number), from: "dup of the terminal")
      input = try Descriptor(adopting: dup(terminal.master.number), from: "dup of the terminal")
      return
    }
    let (outputRead, outputWrite) = try Descriptor.pipe()
    let (errorRead, errorWrite) = try Descriptor.pipe()
    output = outputRead
    errors = errorRead
    if case .pipesWithInput = streams {
      let (inputRead, inputWrite) = try Descriptor.pipe()
      input = inputWrite
      child = (inputRead, outputWrite, errorWrite)
    } else {
      child = (try Descriptor.null(), outputWrite, errorWrite)
    }
    if case .unreadErrors = streams {
      readsErrors = false
      end_to_end_shrink_pipe(errorWrite.number)
    }
  }

  /// Closes the ends that belong to the program, so that the test sees their end.
  mutating func closeChildSide() {
    child.0.close()
    child.1.close()
    child.2.close()
  }
}
