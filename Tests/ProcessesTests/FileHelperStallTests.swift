import EventLoop
import Glibc
import Testing

@testable import Processes

// In a process of its own: its helpers are left for a reaper that only that process has.
extension KernelSuite {
  @Suite("file helper: a file system that stalls")
  struct FileHelperStallTests {
    /// What the helper is doing when it is asked to write; it does not answer for a while.
    private static func answer(guarding: Bool) throws -> (isStalled: Bool, afterwards: FileFailure??) {
      var template = Array("/tmp/file-helper-XXXXXX".utf8CString)
      let folder = try #require(mkdtemp(&template).map { String(cString: $0) })
      defer { for name in ["/lock", "/file", ""] { remove(folder + name) } }
      let loop = try EventLoop()
      let table = try ProcessTable(loop: loop)
      let helper = try FileHelper(loop: loop, table: table)
      defer { helper.close() }
      helper.patience = .milliseconds(50)
      helper.lock(folder + "/lock", owner: "test", busy: { _ in }, { _ in loop.stop() })
      loop.run()
      // No such group can exist: numbers end at 2^22.
      if guarding { helper.guardGroup(1 << 23) }
      kill(helper.pid, SIGSTOP)
      var afterwards: FileFailure??
      helper.write(folder + "/file", [1], mode: 0o600) {
        afterwards = .some($0)
        loop.stop()
      }
      loop.schedule(after: .milliseconds(300)) { loop.stop() }
      loop.run()
      let isStalled = afterwards == nil
      kill(helper.pid, SIGCONT)
      if isStalled { loop.run() }
      return (isStalled, afterwards)
    }

    @Test("leaves no timer behind that would take the lock from a step later", .timeLimit(.minutes(1)))
    func twoRequests() throws {
      var template = Array("/tmp/file-helper-XXXXXX".utf8CString)
      let folder = try #require(mkdtemp(&template).map { String(cString: $0) })
      defer { for name in ["/lock", "/file", ""] { remove(folder + name) } }
      let loop = try EventLoop()
      let table = try ProcessTable(loop: loop)
      let helper = try FileHelper(loop: loop, table: table)
      defer { helper.close() }
      helper.patience = .milliseconds(100)
      helper.lock(folder + "/lock", owner: "test", busy: { _ in }, { _ in loop.stop() })
      loop.run()
      helper.guardGroup(1 << 23)
      kill(helper.pid, SIGSTOP)
      var answers: [FileFailure?] = []
      func write() {
        helper.write(folder + "/file", [1], mode: 0o600) {
          answers.append($0)
          if answers.count == 2 { loop.stop() }
        }
      }
      write()
      // The second one's time runs out between two turns of the first one's.
      loop.schedule(after: .milliseconds(40)) { write() }
      loop.schedule(after: .milliseconds(150)) { [pid = helper.pid] in kill(pid, SIGCONT) }
      loop.run()
      // Whatever timer is left comes now.
      loop.schedule(after: .milliseconds(300)) { loop.stop() }
      loop.run()
      helper.write(folder + "/file", [2], mode: 0o600) {
        answers.append($0)
        loop.stop()
      }
      loop.run()
      #expect(answers == [nil, nil, nil])
    }

    @Test("is given up after the patience when nothing depends on the lock", .timeLimit(.minutes(1)))
    func unguarded() throws {
      let (isStalled, failure) = try Self.answer(guarding: false)
      #expect(!isStalled)
      #expect(failure??.stage == .deadline)
    }

    @Test("is waited for while a step runs under the lock", .timeLimit(.minutes(1)))
    func guarded() throws {
      let (isStalled, failure) = try Self.answer(guarding: true)
      #expect(isStalled)
      #expect(failure == .some(nil))
    }
  }
}
