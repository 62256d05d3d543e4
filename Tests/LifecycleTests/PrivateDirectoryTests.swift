import CLinux
import Glibc
import Synchronization
import Testing

@testable import Lifecycle

/// The instance lock, and who still holds it.
@Suite struct PrivateDirectoryTests {
  /// A directory whose lock is held, as by the supervisor with this number.
  private final class Held: Sendable {
    let path: String
    private let lock: Mutex<CInt>

    init(by owner: CInt) throws {
      var template = Array("/tmp/private-directory-XXXXXX".utf8CString)
      try #require(mkdtemp(&template) != nil, "mkdtemp: errno \(errno)")
      path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
      let opened = open(path + "/supervisor.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
      try #require(opened >= 0 && flock(opened, LOCK_EX | LOCK_NB) == 0)
      let text = Array("\(owner)".utf8)
      try #require(write(opened, text, text.count) == text.count)
      lock = Mutex(opened)
    }

    func release() {
      lock.withLock { _ = flock($0, LOCK_UN) }
    }

    deinit {
      lock.withLock { _ = close($0) }
      unlink(path + "/supervisor.lock")
      rmdir(path)
    }
  }

  /// A number that no process has: they end at 2^22.
  private static let nobody: CInt = 1 << 23

  @Test func `a supervisor that lives is not waited for`() throws {
    let held = try Held(by: 1)
    let failure = #expect(throws: PrivateDirectory.Failure.self) {
      try PrivateDirectory(candidates: [held.path])
    }
    #expect(failure?.isInUse == true)
    #expect(failure?.description.contains("(pid 1)") == true)
  }

  /// It was killed while it started a process, which holds a copy of the lock until its exec.
  @Test(arguments: [nobody, getpid()]) func `the lock of one that is gone is waited for`(owner: CInt) throws {
    let held = try Held(by: owner)
    var thread = pthread_t()
    let created = pthread_create(
      &thread, nil,
      { context in
        guard let context else { return nil }
        poll(nil, 0, 100)
        Unmanaged<Held>.fromOpaque(context).takeRetainedValue().release()
        return nil
      }, Unmanaged.passRetained(held).toOpaque())
    try #require(created == 0)
    defer { pthread_join(thread, nil) }
    let directory = try PrivateDirectory(candidates: [held.path])
    #expect(directory.path == held.path)
  }

  @Test func `whoever holds it for long is another supervisor after all`() throws {
    let held = try Held(by: Self.nobody)
    let failure = #expect(throws: PrivateDirectory.Failure.self) {
      try PrivateDirectory(candidates: [held.path])
    }
    #expect(failure?.isInUse == true)
  }
}
