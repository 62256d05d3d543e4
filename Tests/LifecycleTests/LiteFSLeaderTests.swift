import Coordination
import LiteFS
import Testing

@testable import Lifecycle

/// Being LiteFS's primary, as the leader lock.
@Suite struct LiteFSLeaderTests {
  private final class Rig {
    let leader = LiteFSLeader()
    var events: [String] = []

    init() {
      leader.onEvent = { [unowned self] in events.append("\($0)") }
    }
  }

  @Test func `it is held while this node is the primary, and by nobody who does not want it`() {
    let rig = Rig()
    rig.leader.look(.primary)
    #expect(rig.events.isEmpty)
    rig.leader.lock()
    rig.leader.look(.primary)
    #expect(rig.events == ["lockHeld(leftBy: \"\")"])
    rig.leader.look(.unknown)
    #expect(rig.events.count == 2 && rig.events[1] == "lockLost")
    rig.leader.look(.primary)
    #expect(rig.events.count == 2, "it is wanted anew first")
    rig.leader.lock()
    #expect(rig.events.last == "lockHeld(leftBy: \"\")" && rig.events.count == 3)
  }

  @Test func `who waits hears whose it is, and has it when that changes`() {
    let rig = Rig()
    rig.leader.lock()
    #expect(rig.events.isEmpty, "nobody is known")
    rig.leader.look(.replica(of: "node-1"))
    #expect(rig.events == ["lockBusy(holder: \"node-1\")"])
    rig.leader.look(.primary)
    #expect(rig.events.last == "lockHeld(leftBy: \"\")")
  }

  @Test func `given back it is not lost`() {
    let rig = Rig()
    rig.leader.lock()
    rig.leader.look(.primary)
    rig.leader.release()
    rig.leader.look(.none)
    #expect(rig.events.count == 1)
  }
}
