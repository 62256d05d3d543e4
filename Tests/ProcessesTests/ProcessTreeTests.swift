import CLinux
import Glibc
import Testing

@testable import Processes

struct ProcessTreeTests {
  private func record(_ pid: CInt, parent: CInt) -> ProcessRecord {
    var raw = clinux_process()
    raw.pid = pid
    raw.parent = parent
    raw.state = CChar(UInt8(ascii: "S"))
    return ProcessRecord(raw)
  }

  private func below(_ root: CInt, _ pairs: [(CInt, CInt)]) -> [CInt] {
    ProcessTree.descendants(of: root, in: pairs.map { record($0.0, parent: $0.1) }).map(\.pid)
  }

  @Test func `all that is below a process is found, parents before children, others are not`() {
    let found = below(1, [(5, 3), (2, 1), (3, 1), (4, 2), (9, 8), (6, 5), (1, 0)])
    #expect(Set(found) == [2, 3, 4, 5, 6])
    for (child, parent) in [(4, 2), (5, 3), (6, 5)] as [(CInt, CInt)] {
      #expect(found.firstIndex(of: parent) ?? 99 < found.firstIndex(of: child) ?? -1)
    }
  }

  // A list of /proc is no snapshot: numbers are used again while it is read.
  @Test(.timeLimit(.minutes(1))) func `a list that contradicts itself ends all the same`() {
    #expect(below(1, [(2, 3), (3, 2)]) == [])
    #expect(Set(below(2, [(2, 3), (3, 2)])) == [3])
    #expect(below(1, [(1, 1), (2, 1), (2, 1)]) == [2])
    #expect(Set(below(1, [(2, 1), (3, 2), (2, 3)])) == [2, 3])
    #expect(below(1, []) == [])
  }

  @Test func `we are in the list of all, below our parent`() throws {
    let all = try ProcessTree.all()
    let own = try #require(all.first { $0.pid == getpid() })
    #expect(own.parent == getppid())
    #expect(own.group == getpgrp())
    #expect(own.state == "R" || own.state == "S")
    #expect(ProcessTree.name(of: getpid()) == own.name)
    #expect(ProcessTree.descendants(of: getppid(), in: all).contains { $0.pid == getpid() })
  }

  @Test func `a process that is not there has no name`() {
    #expect(ProcessTree.name(of: CInt.max) == nil)
  }
}
