import EventLoop
import Glibc
import Testing

@testable import Processes

extension KernelSuite {
  /// What a lock file says of a holder that vanished, to the one after it and to those after that.
  @Suite struct LockNameTests {
    private let world: KernelWorld
    private let directory: TemporaryDirectory

    init() throws {
      world = try KernelWorld()
      directory = try TemporaryDirectory()
    }

    private var lock: String { directory.path + "/lock" }

    /// Takes the lock; also whom its file named before.
    private func take(_ owner: String, takeoverDelay: Duration) throws -> (helper: FileHelper, left: String) {
      let helper = try FileHelper(loop: world.loop, table: world.table)
      var answer: Result<[UInt8], FileFailure>?
      helper.lock(lock, owner: owner, takeoverDelay: takeoverDelay, busy: { _ in }, { answer = $0 })
      try world.turn("the lock for \(owner)") { answer != nil }
      return (helper, String(decoding: try #require(answer).get(), as: UTF8.self))
    }

    private func giveBack(_ helper: FileHelper) throws {
      var isGiven = false
      helper.unlock(lock) { isGiven = $0 == nil }
      try world.turn("the answer") { isGiven }
      helper.close()
      try world.turn("the end of the helper") { world.table.isEmpty }
    }

    private func kill(_ helper: FileHelper) throws {
      #expect(Glibc.kill(helper.pid, SIGKILL) == 0)
      try world.turn("the end of the helper") { world.table.isEmpty }
    }

    @Test func `a holder that vanished is named, one that gave the lock back is not`() throws {
      let first = try take("first", takeoverDelay: .seconds(60))
      #expect(first.left.isEmpty)
      try giveBack(first.helper)
      let second = try take("second", takeoverDelay: .seconds(60))
      #expect(second.left.isEmpty)
      try kill(second.helper)
      let third = try take("third", takeoverDelay: .zero)
      #expect(third.left == "second")
      // Its predecessor has had its time.
      try giveBack(third.helper)
      #expect(try bytes(of: lock).isEmpty)
    }

    @Test(arguments: [true, false])
    func `it stays named while what it ran may still run, however the next one ends`(inOrder: Bool) throws {
      try kill(try take("a holder with quite a long name", takeoverDelay: .zero).helper)
      let next = try take("next", takeoverDelay: .seconds(60))
      #expect(next.left == "a holder with quite a long name")
      #expect(try bytes(of: lock) == Array("next".utf8))
      if inOrder {
        try giveBack(next.helper)
      } else {
        next.helper.close()
        try world.turn("the end of the helper") { world.table.isEmpty }
      }
      let last = try take("last", takeoverDelay: .zero)
      #expect(last.left == "a holder with quite a long name")
      try giveBack(last.helper)
    }

    @Test(arguments: [true, false])
    func `a lock that must be named is not taken where there is no room for a name`(must: Bool) throws {
      let helper = try FileHelper(loop: world.loop, table: world.table)
      var answer: Result<[UInt8], FileFailure>?
      // Every write to it fails as on a full disk.
      helper.lock(
        "/dev/full", owner: "name", takeoverDelay: .zero, mustBeNamed: must, busy: { _ in }, { answer = $0 })
      try world.turn("an answer") { answer != nil }
      let other = open("/dev/full", O_RDWR | O_CLOEXEC)
      defer { close(other) }
      // A lock that was refused is nobody's.
      #expect(flock(other, LOCK_EX | LOCK_NB) == (must ? 0 : -1))
      if must {
        #expect(throws: FileFailure(stage: .write, code: ENOSPC, path: "/dev/full")) {
          try #require(answer).get()
        }
      } else {
        #expect(try #require(answer).get().isEmpty)
      }
      helper.close()
      try world.turn("the end of the helper") { world.table.isEmpty }
    }

    @Test(.enabled(if: geteuid() == 0, "needs root"))
    func `nothing is written before the lock file could be given a name`() throws {
      guard mount("none", directory.path, "tmpfs", 0, "size=64k") == 0 else {
        // A container may be without this right.
        #expect(errno == EPERM)
        return
      }
      defer { umount2(directory.path, Int32(MNT_DETACH)) }
      let fill = open(directory.path + "/fill", O_CREAT | O_WRONLY | O_CLOEXEC, 0o600)
      defer { close(fill) }
      let block = [UInt8](repeating: 1, count: 4096)
      // The lock file itself is there, and empty.
      close(open(lock, O_CREAT | O_CLOEXEC, 0o600))
      while Glibc.write(fill, block, block.count) == block.count {}
      let (helper, _) = try take("name", takeoverDelay: .seconds(60))
      #expect(try bytes(of: lock).isEmpty)
      func write() throws -> FileFailure? {
        var answer: FileFailure??
        helper.write(directory.path + "/record", [1], mode: 0o644) { answer = .some($0) }
        try world.turn("an answer") { answer != nil }
        return answer ?? nil
      }
      #expect(try write()?.code == ENOSPC)
      #expect(ftruncate(fill, 0) == 0)
      #expect(try write() == nil)
      #expect(try bytes(of: lock) == Array("name".utf8))
      helper.close()
      try world.turn("the end of the helper") { world.table.isEmpty }
    }
  }
}
