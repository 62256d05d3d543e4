import CLinux
import EventLoop
import Glibc
import Testing

@testable import Processes

extension KernelSuite {
  /// Locks that pass from one to the next, changes that are waited for, and old files.
  @Suite struct LockTests {
    private let world: KernelWorld
    private let directory: TemporaryDirectory
    private let helper: FileHelper

    init() throws {
      world = try KernelWorld()
      directory = try TemporaryDirectory()
      helper = try FileHelper(loop: world.loop, table: world.table)
    }

    private func path(_ name: String) -> String { directory.path + "/" + name }

    private final class Contender {
      let helper: FileHelper
      var busy: [String] = []
      var left: [String] = []
      init(_ helper: FileHelper) { self.helper = helper }
    }

    private func contender(_ name: String) throws -> Contender {
      let one = Contender(try FileHelper(loop: world.loop, table: world.table))
      one.helper.lock(
        path("lock"), owner: name, busy: { one.busy.append(String(decoding: $0, as: UTF8.self)) },
        { result in
          if case .success(let left) = result { one.left.append(String(decoding: left, as: UTF8.self)) }
        })
      return one
    }

    // MARK: Locks

    @Test func `who waits learns of each holder`() throws {
      let first = try contender("first")
      try world.turn("the lock") { first.left == [""] }
      let others = [try contender("second"), try contender("third")]
      try world.turn("busy") { others.allSatisfy { $0.busy == ["first"] } }
      first.helper.close()
      try world.turn("the next holder") { others.contains { $0.left == [""] } }
      let waiting = try #require(others.firstIndex { $0.left.isEmpty })
      try world.turn("its name") { others[waiting].busy == ["first", waiting == 0 ? "third" : "second"] }
      #expect(others[1 - waiting].busy == ["first"])
      for other in others { other.helper.close() }
      try world.turn("all gone") { others.allSatisfy(\.helper.hasEnded) }
    }

    @Test func `a lock that is abandoned names its holder to the next, one that is closed does not`() throws {
      // In this order: what is abandoned stays named for a while, also by who gives it back before.
      for (abandons, left) in [(false, ""), (true, "first")] {
        let first = try contender("first")
        try world.turn("the lock") { first.left.count == 1 }
        let second = try contender("second")
        try world.turn("busy") { second.busy == ["first"] }
        if abandons { first.helper.abandon() } else { first.helper.close() }
        try world.turn("the lock") { second.left == [left] }
        second.helper.close()
        try world.turn("all gone") { first.helper.hasEnded && second.helper.hasEnded }
      }
    }

    @Test func `when we vanish the lock is given back, for what it protected has ended`() throws {
      var end: CInt = -1
      try #require(clinux_fork_helper(clinux_file_helper_main, nil, true, &end) > 0)
      let name = Array(path("lock").utf8)
      let owner = Array("vanishing".utf8)
      var header = clinux_file_request(
        operation: CLINUX_FILE_LOCK.rawValue, mode: 0o600, path_length: UInt32(name.count),
        data_length: UInt32(owner.count))
      let request = withUnsafeBytes(of: &header) { Array($0) } + name + owner
      #expect(clinux_write(end, request, request.count) == request.count)
      try world.turn("the lock") {
        access(path("lock"), F_OK) == 0 && (try? contents(of: path("lock"))) == "vanishing"
      }
      let second = try contender("second")
      try world.turn("busy") { second.busy == ["vanishing"] }
      close(end)
      try world.turn("the lock") { second.left == [""] }
      second.helper.close()
    }

    @Test func `a lock file that is removed while somebody waits is no lock any more`() throws {
      let first = try contender("first")
      try world.turn("the lock") { first.left.count == 1 }
      let second = try contender("second")
      try world.turn("busy") { second.busy == ["first"] }
      #expect(unlink(path("lock")) == 0)
      first.helper.close()
      try world.turn("the lock") { second.left == [""] }
      #expect(try contents(of: path("lock")) == "second", "it holds what others see")
      let third = try contender("third")
      try world.turn("busy") { third.busy == ["second"] }
      third.helper.close()
      second.helper.close()
    }

    @Test func `what its holder writes is a sign of life for those who wait`() throws {
      let holder = try contender("first")
      try world.turn("the lock") { holder.left.count == 1 }
      let second = try contender("second")
      try world.turn("busy") { second.busy == ["first"] }
      for count in 2...3 {
        holder.helper.write(path("record"), [1], mode: 0o644) { _ in }
        try world.turn("a sign of life") { second.busy.count == count }
      }
      #expect(second.busy == ["first", "first", "first"])
      second.helper.close()
      holder.helper.close()
    }

    @Test func `nothing is written under a lock whose file was removed`() throws {
      let holder = try contender("first")
      try world.turn("the lock") { holder.left.count == 1 }
      var answers: [FileFailure?] = []
      holder.helper.write(path("record"), [1], mode: 0o644) { answers.append($0) }
      try world.turn("an answer") { answers == [nil] }
      #expect(unlink(path("lock")) == 0)
      // Somebody else has the name meanwhile.
      let second = try contender("second")
      try world.turn("the lock") { second.left == [""] }
      holder.helper.write(path("record"), [2], mode: 0o644) { answers.append($0) }
      try world.turn("an answer") { answers.count == 2 }
      #expect(answers[1] == FileFailure(stage: .lockGone, code: ESTALE, path: path("record")))
      #expect(try contents(of: path("record")) == "\u{1}")
      holder.helper.close()
      second.helper.close()
    }

    // MARK: Changes

    private func read(_ name: String) throws {
      var isDone = false
      helper.read(path(name)) { _ in isDone = true }
      try world.turn("an answer") { isDone }
    }

    /// How long the wait for a change took; the limit is far beyond what a test waits.
    private func awaited(_ name: String, limit: Duration = .seconds(60), _ meanwhile: () throws -> Void)
      throws
    {
      var answers: [FileFailure?] = []
      helper.awaitChange(of: path(name), within: limit) { answers.append($0) }
      try meanwhile()
      try world.turn("the end of the wait") { !answers.isEmpty }
      #expect(answers == [nil])
    }

    @Test func `a change before the wait, and one during it, end it`() throws {
      _ = try directory.file("f", "one")
      try read("f")
      _ = try directory.file("f", "another")
      try awaited("f") {}
      try read("f")
      try awaited("f") {
        // It waits by now, or will see it when it comes to it.
        for _ in 0..<20 { world.loop.turn(waiting: true) }
        _ = try directory.file("g", "third")
        #expect(rename(path("g"), path("f")) == 0)
      }
    }

    @Test func `a file that comes, or goes, is a change`() throws {
      try read("f")
      try awaited("f") { _ = try directory.file("f", "") }
      try read("f")
      try awaited("f") { #expect(unlink(path("f")) == 0) }
    }

    @Test func `without a change the wait has its time, and another request ends it`() throws {
      _ = try directory.file("f", "one")
      try read("f")
      let began = MonotonicInstant.now
      try awaited("f", limit: .milliseconds(80)) {}
      #expect(MonotonicInstant.now - began >= .milliseconds(80))
      var isRead = false
      try awaited("f") { helper.read(path("f")) { _ in isRead = true } }
      try world.turn("the read") { isRead }
    }

    @Test func `a change of what was not read is not waited for`() throws {
      _ = try directory.file("f", "one")
      try awaited("f") {}
    }

    // MARK: Files

    private func failure(_ request: (@escaping (FileFailure?) -> Void) -> Void) throws -> FileFailure? {
      var answer: FileFailure??
      request { answer = .some($0) }
      try world.turn("an answer") { answer != nil }
      return answer ?? nil
    }

    @Test func `a file is removed, once or again; a directory is not`() throws {
      _ = try directory.file("f", "x")
      for _ in 0..<2 { #expect(try failure { helper.remove(path("f"), $0) } == nil) }
      #expect(directory.names == [])
      mkdir(path("d"), 0o755)
      #expect(try failure { helper.remove(path("d"), $0) }?.stage == .remove)
    }

    @Test func `a write that is larger than any socket buffer`() throws {
      let bytes = [UInt8](repeating: 42, count: 900 << 10)
      #expect(try failure { helper.write(path("f"), bytes, mode: 0o600, $0) } == nil)
      #expect(try ProcessesTests.bytes(of: path("f")) == bytes)
    }

    private func file(_ name: String, daysOld: Int) throws {
      let path = try directory.file(name, "x")
      let then = timeval(tv_sec: time(nil) - daysOld * 86400, tv_usec: 0)
      try #require(utimes(path, [then, then]) == 0)
    }

    @Test func `old files go, the newest and the own one stay, and so do all others`() throws {
      for (name, age) in [
        ("r-1.rec", 40), ("r-2.rec", 50), ("r-3.rec", 60), ("r-4.rec", 70), ("r-own.rec", 90),
        ("r-new.rec", 1),
        ("other.rec", 99), ("r-5.txt", 99), ("r-6.rec.77.tmp", 1), ("r-7.rec.78.tmp", 0),
      ] {
        try file(name, daysOld: age)
      }
      mkdir(path("r-dir.rec"), 0o755)
      #expect(symlink("/etc/passwd", path("r-link.rec")) == 0)
      let rules = FileHelper.Pruning(
        prefix: "r-", suffix: ".rec", keep: 3, age: .seconds(30 * 86400), own: "r-own.rec")
      #expect(try failure { helper.prune(directory.path, rules, $0) } == nil)
      #expect(
        directory.names == [
          "other.rec", "r-1.rec", "r-2.rec", "r-5.txt", "r-7.rec.78.tmp", "r-dir.rec", "r-link.rec",
          "r-new.rec",
          "r-own.rec",
        ])
      #expect(try failure { helper.prune(path("none"), rules, $0) }?.code == ENOENT)
    }

    @Test func `within their age all stay, however many`() throws {
      for index in 0..<6 { try file("r-\(index).rec", daysOld: 10) }
      let rules = FileHelper.Pruning(
        prefix: "r-", suffix: ".rec", keep: 1, age: .seconds(30 * 86400), own: "x")
      #expect(try failure { helper.prune(directory.path, rules, $0) } == nil)
      #expect(directory.names.count == 6)
    }

    @Test func `what is locked stays, and a lock goes with its file`() throws {
      for name in ["m-1.done", "m-2.done", "m-1.lock", "m-2.lock"] { try file(name, daysOld: 40) }
      let held = open(path("m-2.lock"), O_RDWR | O_CLOEXEC)
      #expect(flock(held, LOCK_EX | LOCK_NB) == 0)
      defer { close(held) }
      let rules = FileHelper.Pruning(
        prefix: "m-", suffix: ".done", lockSuffix: ".lock", keep: 0, age: .seconds(86400), own: "m-3.done")
      #expect(try failure { helper.prune(directory.path, rules, $0) } == nil)
      #expect(directory.names == ["m-2.done", "m-2.lock"])
    }
  }
}
