import Glibc
import Testing

/// The tests that let the kernel make and end processes.
///
/// A `ProcessTable` takes every ended child of its process, whoever started it, and Swift Testing runs all tests of the
/// package in one process: it would take the children of the end-to-end tests away. So these tests run in a process
/// of their own: `KernelSuiteRunner` starts this same test program again, for them alone.
@Suite(.serialized, .enabled(if: isKernelProcess, "runs in a process of its own, see KernelSuiteRunner"))
struct KernelSuite {}

private let kernelVariable = "SUPERVISOR_KERNEL_SUITE"

/// Whether this process is the one for `KernelSuite`.
private let isKernelProcess = getenv(kernelVariable) != nil

struct KernelSuiteRunner {
  private static let patience = Duration.seconds(300)

  @Test(.enabled(if: !isKernelProcess))
  func `the tests of KernelSuite pass in a process of their own`()
    async throws
  {
    let output = try TemporaryDirectory()
    let (status, text) = try await runAgain(logging: output.path + "/log")
    #expect(status == 0, "\(text)")
    // A filter that fits nothing would pass too.
    let count = text.firstMatch(of: /Test run with (\d+) tests/).flatMap { Int($0.output.1) } ?? 0
    #expect(count >= 30, "\(text)")
  }

  /// Runs this program with these tests only. Returns the wait status and what it said.
  private func runAgain(logging path: String) async throws -> (CInt, String) {
    let program = try link("/proc/self/exe")
    let arguments = [program, "--testing-library", "swift-testing", "--filter", "ProcessesTests.KernelSuite"]
    var environment: [String] = ["\(kernelVariable)=1"]
    var next = environ
    while let entry = next.pointee {
      environment.append(String(cString: entry))
      next += 1
    }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 1, path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    posix_spawn_file_actions_adddup2(&actions, 1, 2)
    var pid: pid_t = 0
    let failure = withVector(arguments) { arguments in
      withVector(environment) { posix_spawn(&pid, program, &actions, nil, arguments, $0) }
    }
    try #require(failure == 0, "posix_spawn: errno \(failure)")
    let end = ContinuousClock.now + Self.patience
    var status: CInt = 0
    while waitpid(pid, &status, WNOHANG) == 0 {
      if ContinuousClock.now > end { kill(pid, SIGKILL) }
      try await Task.sleep(for: .milliseconds(10))
    }
    return (status, try contents(of: path))
  }

  private func link(_ path: String) throws -> String {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let size = buffer.withUnsafeMutableBytes { bytes -> Int in
      guard let start = bytes.baseAddress?.assumingMemoryBound(to: CChar.self) else { return -1 }
      return readlink(path, start, bytes.count)
    }
    try #require(size > 0)
    return String(decoding: buffer.prefix(size), as: UTF8.self)
  }

  private func withVector<Result>(
    _ strings: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
  ) -> Result {
    var vector = strings.map { strdup($0) } + [nil]
    defer { for string in vector { free(string) } }
    return vector.withUnsafeMutableBufferPointer { buffer in
      guard let start = buffer.baseAddress else { preconditionFailure("an empty vector") }
      return body(start)
    }
  }
}
