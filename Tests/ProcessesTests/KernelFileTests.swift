import CLinux
import EventLoop
import Glibc
import Testing

@testable import Processes

extension KernelSuite {
  @Suite struct FileTests {
    private let world: KernelWorld
    private let directory: TemporaryDirectory
    private let helper: FileHelper

    init() throws {
      world = try KernelWorld()
      directory = try TemporaryDirectory()
      helper = try FileHelper(loop: world.loop, table: world.table)
    }

    private func path(_ name: String) -> String { directory.path + "/" + name }

    private func read(_ path: String) throws -> Result<[UInt8], FileFailure> {
      var result: Result<[UInt8], FileFailure>?
      helper.read(path) { result = $0 }
      try world.turn("an answer about \(path)") { result != nil }
      return try #require(result)
    }

    private func write(_ path: String, _ bytes: [UInt8], mode: UInt32 = 0o644) throws -> FileFailure? {
      var answer: FileFailure??
      helper.write(path, bytes, mode: mode) { answer = .some($0) }
      try world.turn("an answer about \(path)") { answer != nil }
      return answer ?? nil
    }

    private func make(_ path: String, mode: UInt32 = 0o700) throws -> FileFailure? {
      var answer: FileFailure??
      helper.makeDirectory(path, mode: mode) { answer = .some($0) }
      try world.turn("an answer about \(path)") { answer != nil }
      return answer ?? nil
    }

    // MARK: Files

    @Test func `what is written is read, and replaced as a whole`() throws {
      #expect(try write(path("f"), Array("first".utf8), mode: 0o600) == nil)
      #expect(try write(path("f"), [0, 255, 10], mode: 0o640) == nil)
      #expect(try read(path("f")) == .success([0, 255, 10]))
      #expect(directory.names == ["f"])
      var status = stat()
      #expect(stat(path("f"), &status) == 0)
      #expect(status.st_mode & 0o777 == 0o640)
      let large = [UInt8](repeating: 7, count: 100_000)
      #expect(try write(path("f"), large) == nil)
      #expect(try read(path("f")) == .success(large))
      #expect(try write(path("f"), []) == nil)
      #expect(try read(path("f")) == .success([]))
    }

    @Test func `a file that is not there is missing, and only that`() throws {
      guard case .failure(let missing) = try read(path("none")) else {
        Issue.record("it was read")
        return
      }
      #expect(missing.isMissing)
      guard case .failure(let inFile) = try read(try directory.file("f", "x") + "/none") else {
        Issue.record("it was read")
        return
      }
      #expect(!inFile.isMissing && inFile.code == ENOTDIR)
    }

    @Test func `a megabyte is the most, and more is refused`() throws {
      let most = String(repeating: "y", count: 1 << 20)
      #expect(try read(try directory.file("most", most)) == .success(Array(most.utf8)))
      _ = try directory.file("more", String(repeating: "x", count: (1 << 20) + 1))
      guard case .failure(let failure) = try read(path("more")) else {
        Issue.record("it was read")
        return
      }
      #expect(failure.stage == .tooLarge)
      #expect(failure.description.contains("larger than 1 MiB"))
    }

    @Test func `symbolic links, directories and pipes are no files of ours`() throws {
      #expect(symlink(try directory.file("real", "x"), path("link")) == 0)
      #expect(mkfifo(path("pipe"), 0o600) == 0)
      for name in ["link", "pipe", "."] {
        guard case .failure(let failure) = try read(path(name)) else {
          Issue.record("\(name) was read")
          continue
        }
        #expect(!failure.isMissing)
      }
      // A link is replaced, never followed.
      #expect(try write(path("link"), [1]) == nil)
      #expect(try bytes(of: path("real")) == Array("x".utf8))
    }

    @Test func `a write that fails leaves nothing behind and names its step`() throws {
      let failed = try #require(try write(path("none/f"), [1]))
      #expect(failed.stage == .open && failed.path == path("none/f"))
      #expect(mkdir(path("folder"), 0o755) == 0)
      let inPlace = try #require(try write(path("folder"), [1]))
      #expect(inPlace.stage == .rename)
      #expect(directory.names == ["folder"])
    }

    // MARK: Directories

    @Test func `a directory is made with its parents, once or again`() throws {
      #expect(try make(path("a/b/c")) == nil)
      #expect(try make(path("a/b/c")) == nil)
      #expect(try make(path("a/b/c/")) == nil)
      var status = stat()
      #expect(stat(path("a/b/c"), &status) == 0)
      #expect(status.st_mode & 0o777 == 0o700)
    }

    @Test func `a link, a file, or a directory that somebody could swap is refused`() throws {
      #expect(symlink("/tmp", path("link")) == 0)
      #expect(try make(path("link"))?.stage == .symbolicLink)
      let file = try directory.file("file", "x")
      #expect(try make(file)?.code == ENOTDIR)
      let inside = try #require(try make(file + "/below"))
      #expect(inside.stage == .makeDirectory)
    }

    @Test(.enabled(if: geteuid() == 0, "needs root"))
    func `somebody else's directory is refused where all may write`()
      throws
    {
      #expect(mkdir(path("open"), 0o777) == 0 && chmod(path("open"), 0o1777) == 0)
      #expect(mkdir(path("open/theirs"), 0o700) == 0 && chown(path("open/theirs"), 4242, 4242) == 0)
      #expect(try make(path("open/theirs"))?.stage == .foreign)
      #expect(chmod(path("open"), 0o755) == 0)
      #expect(try make(path("open/theirs")) == nil)
    }

    // MARK: Locks

    /// One who wants a lock.
    private final class Contender {
      var busy: [String] = []
      var answers: [FileFailure?] = []
      /// What the lock file still said when the lock was got.
      var left: [String] = []
      var losses = 0
    }

    private func lock(_ helper: FileHelper, as owner: String) -> Contender {
      let contender = Contender()
      helper.onLost = { contender.losses += 1 }
      helper.lock(
        path("lock"), owner: owner, busy: { contender.busy.append(String(decoding: $0, as: UTF8.self)) },
        { result in
          switch result {
          case .success(let left):
            contender.left.append(String(decoding: left, as: UTF8.self))
            contender.answers.append(nil)
          case .failure(let failure): contender.answers.append(failure)
          }
        })
      return contender
    }

    @Test func `a second one is told whom it waits for, and gets the lock when it is given back`() throws {
      let first = lock(helper, as: "node1 (pid 1)")
      try world.turn("the first lock") { first.answers == [nil] }
      let other = try FileHelper(loop: world.loop, table: world.table)
      let second = lock(other, as: "node2")
      try world.turn("busy") { second.busy == ["node1 (pid 1)"] }
      #expect(second.answers.isEmpty)
      var unlocked = false
      helper.unlock(path("lock")) { failure in unlocked = failure == nil }
      try world.turn("the second lock") { second.answers == [nil] }
      try world.turn("the answer") { unlocked }
      #expect(second.left == [""], "who gave it back is not")
      #expect(first.busy == [] && second.busy.count == 1)
      #expect(try contents(of: path("lock")) == "node2")
      other.close()
    }

    @Test func `closing gives locks back without a loss, also of one who waits`() throws {
      let first = lock(helper, as: "one")
      try world.turn("the first lock") { first.answers == [nil] }
      let impatient = try FileHelper(loop: world.loop, table: world.table)
      let given = lock(impatient, as: "impatient")
      try world.turn("busy") { !given.busy.isEmpty }
      impatient.close()
      let other = try FileHelper(loop: world.loop, table: world.table)
      let second = lock(other, as: "two")
      try world.turn("busy") { second.busy == ["one"] }
      helper.close()
      try world.turn("the second lock") { second.answers == [nil] }
      #expect(first.losses == 0 && given.losses == 0 && given.answers.isEmpty)
      other.close()
      try world.turn("all helpers gone") { world.table.isEmpty }
    }

    @Test func `a helper that is killed loses its lock, and says so once`() throws {
      let process = helper.pid
      let first = lock(helper, as: "one")
      try world.turn("the first lock") { first.answers == [nil] }
      let other = try FileHelper(loop: world.loop, table: world.table)
      let second = lock(other, as: "two")
      try world.turn("busy") { !second.busy.isEmpty }
      #expect(kill(process, SIGKILL) == 0)
      try world.turn("the second lock") { second.answers == [nil] }
      #expect(second.left == ["one"], "who vanished is named to the next one")
      try world.turn("the loss") { first.losses == 1 }
      try world.turn("the end") { !world.table.contains(process) }
      #expect(first.losses == 1)
      // What is asked of it afterwards fails, and does not hang.
      guard case .failure(let failure) = try read(path("lock")) else {
        Issue.record("a dead helper has read")
        return
      }
      #expect(failure.stage == .helper)
      other.close()
    }

    @Test func `a loss is told also when a message to the helper finds it gone first`() throws {
      let process = helper.pid
      let first = lock(helper, as: "one")
      try world.turn("the lock") { first.answers == [nil] }
      #expect(kill(process, SIGKILL) == 0)
      let end = MonotonicInstant.now + .seconds(30)
      while state(of: process) != "Z", MonotonicInstant.now < end { usleep(1000) }
      // The loop has not turned: nobody knows yet.
      helper.guardGroup(1 << 23)
      try world.turn("the loss") { first.losses == 1 }
    }

    @Test func `only what is locked can be unlocked`() throws {
      var failure: FileFailure?
      helper.unlock(path("lock")) { failure = $0 }
      try world.turn("an answer") { failure != nil }
      #expect(failure?.stage == .lock)
    }

    @Test func `when we vanish the guarded group is ended before the lock goes`() throws {
      var end: CInt = -1
      let process = clinux_fork_helper(clinux_file_helper_main, nil, true, &end)
      try #require(process > 0)
      let step = try world.spawn(
        KernelWorld.shell("trap '' TERM HUP; sleep 100 & echo up >\(path("up")); wait"))
      try world.turn("the step") { access(path("up"), F_OK) == 0 }
      let spared = try world.spawn(KernelWorld.shell("sleep 100"))
      try world.turn("the other") { spared.isTold }
      send(CLINUX_FILE_LOCK.rawValue, mode: 0o600, path: path("lock"), to: end)
      var reply = clinux_file_reply()
      let deadline = MonotonicInstant.now + .seconds(30)
      while clinux_read(end, &reply, MemoryLayout<clinux_file_reply>.size) < 0,
        MonotonicInstant.now < deadline
      {
        usleep(1000)
      }
      #expect(reply.error == 0 && reply.operation == CLINUX_FILE_LOCK.rawValue)
      send(CLINUX_FILE_GUARD.rawValue, mode: UInt32(spared.pid), path: "", to: end)
      send(CLINUX_FILE_GUARD.rawValue, mode: UInt32(step.pid), path: "", to: end)
      send(CLINUX_FILE_UNGUARD.rawValue, mode: UInt32(spared.pid), path: "", to: end)
      // As when we die: the socket is gone, and nothing was said.
      close(end)
      let file = open(path("lock"), O_RDWR | O_CLOEXEC)
      defer { close(file) }
      while flock(file, LOCK_EX | LOCK_NB) != 0, MonotonicInstant.now < deadline { usleep(100) }
      let left = try ProcessTree.all().filter { $0.group == step.pid && $0.state != "Z" }
      #expect(left == [])
      #expect(flock(file, LOCK_EX | LOCK_NB) == 0)
      // Had it been killed, it would not end by this.
      world.table.signalGroup(spared.pid, .terminate)
      try world.turn("both ends") { !world.table.contains(step.pid) && !world.table.contains(spared.pid) }
      #expect(step.ends == [.signaled(.kill)])
      #expect(spared.ends == [.signaled(.terminate)])
    }

    private func send(_ operation: UInt32, mode: UInt32, path: String, to descriptor: CInt) {
      let name = Array(path.utf8)
      var header = clinux_file_request(
        operation: operation, mode: mode, path_length: UInt32(name.count), data_length: 0)
      let bytes = withUnsafeBytes(of: &header) { Array($0) } + name
      #expect(clinux_write(descriptor, bytes, bytes.count) == bytes.count)
    }
  }
}
