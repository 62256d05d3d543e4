import CLinux
import Frameworks
import Glibc
import Processes

/// Runs one of our Python programs to its end, and waits for it: for commands, never for `run`, whose loop must not wait.
struct DjangoQuestion {
  /// What the program left.
  struct Answer {
    var result: [UInt8]
    var ending: String
  }

  /// No interpreter could be started; one line.
  struct Failure: Error {
    var text: String
  }

  let environment: ProcessEnvironment

  /// Asks with the first of the interpreters that is there; returns it with the answer.
  ///
  /// Program and result are in memory. What the project prints goes to standard error.
  func ask(_ program: DjangoProgram, candidates: [String]) throws(Failure) -> (python: String, answer: Answer)
  {
    for python in candidates {
      if let answer = try ask(program, python: python) { return (python, answer) }
    }
    throw Failure(text: "no Python interpreter was found: looked for \(candidates.joined(separator: ", "))")
  }

  /// nil: no such program.
  private func ask(_ program: DjangoProgram, python: String) throws(Failure) -> Answer? {
    let input = clinux_memory_file("program")
    let result = clinux_memory_file("result")
    defer {
      close(input)
      close(result)
    }
    let text = Array(program.text.utf8)
    guard input >= 0, result >= 0, write(input, text, text.count) == text.count,
      lseek(input, 0, SEEK_SET) == 0
    else { throw Failure(text: "there is no memory for the program: \(String(cString: strerror(errno)))") }

    var actions = posix_spawn_file_actions_t()
    var attributes = posix_spawnattr_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawnattr_init(&attributes)
    defer {
      posix_spawn_file_actions_destroy(&actions)
      posix_spawnattr_destroy(&attributes)
    }
    // The number is the child's. Ours may be the same one, and then dup2 alone would leave it to be closed.
    let resultNumber = max(input, result) + 1
    posix_spawn_file_actions_adddup2(&actions, input, 0)
    posix_spawn_file_actions_adddup2(&actions, 2, 1)
    posix_spawn_file_actions_adddup2(&actions, result, resultNumber)
    var none = sigset_t()
    var all = sigset_t()
    sigemptyset(&none)
    sigfillset(&all)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setsigdefault(&attributes, &all)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))

    var variables = environment
    variables.remove(DjangoProgram.resultFileVariable)
    variables.set(DjangoProgram.resultDescriptorVariable, to: RawString("\(resultNumber)"))
    var pid: pid_t = 0
    let outcome = Self.withVector([RawString(python)] + program.arguments.map { RawString($0) }) {
      arguments in
      Self.withVector(variables.entries) { variables in
        posix_spawnp(&pid, python, &actions, &attributes, arguments, variables)
      }
    }
    if outcome == ENOENT || outcome == ENOTDIR { return nil }
    guard outcome == 0 else {
      throw Failure(text: "\(python) cannot be started: \(String(cString: strerror(outcome)))")
    }

    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0 {
      guard errno == EINTR else {
        throw Failure(text: "\(python) is lost: \(String(cString: strerror(errno)))")
      }
    }
    let signal = status & 0x7f
    return Answer(
      result: Self.content(of: result),
      ending: signal == 0 ? "exit code \(status >> 8 & 0xff)" : "killed by signal \(signal)")
  }

  private static func content(of descriptor: Int32) -> [UInt8] {
    var result: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = pread(descriptor, &buffer, buffer.count, result.count)
      guard count > 0 else { return result }
      result += buffer[..<count]
    }
  }

  private static func withVector<Result>(
    _ strings: [RawString], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
  ) -> Result {
    let vector = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>.allocate(capacity: strings.count + 1)
    vector.initialize(repeating: nil, count: strings.count + 1)
    for (index, string) in strings.enumerated() {
      vector[index] = strdup(string.bytes.map { CChar(bitPattern: $0) } + [0])
    }
    defer {
      for index in strings.indices { free(vector[index]) }
      vector.deallocate()
    }
    return body(vector)
  }
}
