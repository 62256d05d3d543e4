import Coordination
import EventLoop
import Phases
import Testing

@testable import Lifecycle

/// Readiness in Redis beside a record that has the last word.
@Suite struct MirroredReleaseTests {
  // MARK: Looking

  @Test func `a yes in Redis that the ledger does not know is hearsay`() throws {
    let rig = try MirroredRig()
    rig.agent.value = "1"
    #expect(try rig.look() == "hearsay")
    #expect(rig.record?.declaredBy == "the Redis key \(MirroredRig.key)")
    #expect(rig.record?.runID == "r1")
    rig.ledger.record = .r1(isClaimed: true)
    #expect(try rig.look() == "hearsay")
    #expect(rig.record?.claim?.attempt == 1, "what the ledger knows besides stays")
    #expect(rig.ledger.journal.isEmpty && rig.agent.asked == ["look", "look"])
  }

  @Test func `a yes that the ledger confirms is the ledger's, and nothing is written`() throws {
    let rig = try MirroredRig()
    rig.agent.value = "1"
    rig.ledger.record = .r1(isComplete: true)
    #expect(try rig.look() == "complete")
    #expect(rig.record == rig.ledger.record)
    try rig.settle()
    #expect(rig.agent.asked == ["look"])
  }

  @Test func `what neither knows is not ready, and what the ledger has begun is what it says`() throws {
    let rig = try MirroredRig()
    #expect(try rig.look() == "nothing")
    rig.ledger.record = .r1(isClaimed: true)
    #expect(try rig.look() == "open")
    #expect(rig.record == rig.ledger.record)
  }

  @Test func `a key that was flushed is set again before the phase goes on`() throws {
    let rig = try MirroredRig()
    rig.ledger.record = .r1(isComplete: true)
    #expect(try rig.look() == "complete")
    #expect(rig.agent.value == "1")
    #expect(rig.agent.asked == ["look", "set"])
    #expect(rig.ledger.journal.isEmpty && rig.notes.isEmpty)
  }

  @Test func `of a development run ID nothing is set again`() throws {
    let rig = try MirroredRig(runID: nil)
    rig.ledger.record = .r1(isComplete: true)
    #expect(try rig.look() == "complete")
    try rig.settle()
    #expect(rig.agent.asked == ["look"] && rig.agent.value == nil)
  }

  @Test func `a stranger's value is no yes, and is said once`() throws {
    let rig = try MirroredRig()
    rig.agent.value = "yes"
    for _ in 1...2 { #expect(try rig.look() == "nothing") }
    #expect(
      rig.notes == [
        "under the Redis key \(MirroredRig.key) stands the text \"yes\": that is taken for not ready"
      ])
    rig.ledger.record = .r1(isComplete: true)
    #expect(try rig.look() == "complete")
    #expect(rig.agent.value == "1", "replaced: the ledger says so")
  }

  // MARK: Redis in trouble

  @Test(arguments: [StandInAgent.Redis.frozen, .away, .refusing], [true, false])
  func `what the record says by itself waits for no Redis`(redis: StandInAgent.Redis, isComplete: Bool) throws
  {
    let rig = try MirroredRig()
    rig.agent.redis = redis
    rig.ledger.record = .r1(isComplete: isComplete, isClaimed: !isComplete)
    let began = MonotonicInstant.now
    #expect(try rig.look() == (isComplete ? "complete" : "open"))
    #expect(MonotonicInstant.now - began < .seconds(3))
    if redis == .frozen {
      #expect(MonotonicInstant.now - began >= MirroredRelease.courtesy, "it had its time")
    } else {
      #expect(rig.notes.count == 1)
      #expect(rig.notes.first?.hasSuffix("going by the release's record") == true)
    }
  }

  @Test func `without a record Redis that is away is waited for, and then believed`() throws {
    let rig = try MirroredRig()
    rig.agent.redis = .away
    rig.agent.value = "1"
    #expect(try rig.look() == "unavailable: Redis is away")
    rig.agent.redis = .up
    try rig.hears(2)
    #expect(rig.heard.last == "hearsay")
    #expect(rig.agent.asked == ["look"], "the agent tries again, nobody else")
  }

  @Test func `without a record Redis that refuses for good ends the look`() throws {
    let rig = try MirroredRig()
    rig.agent.redis = .refusing
    #expect(try rig.look() == "failed: Redis wants a password")
  }

  @Test func `under the lock a claim that was left behind says nothing without Redis`() throws {
    let rig = try MirroredRig()
    rig.ledger.record = .r1(isClaimed: true)
    rig.mirrored.lock()
    try rig.hears(1)
    rig.agent.redis = .away
    #expect(try rig.look() == "unavailable: Redis is away")
    rig.agent.redis = .up
    try rig.hears(3)
    #expect(rig.heard == ["held", "unavailable: Redis is away", "open"])
  }

  @Test func `a ledger that cannot be read is the answer, whatever Redis says`() throws {
    let rig = try MirroredRig()
    rig.agent.value = "1"
    rig.ledger.trouble = .storeFailed(StoreFailure("no table"))
    #expect(try rig.look() == "failed: no table")
    try rig.settle()
    #expect(rig.heard.count == 1)
  }

  @Test func `without an agent there is no answer, and it is said why`() throws {
    let rig = try MirroredRig(hasAgent: false)
    #expect(try rig.look() == "failed: there is no supervisor-agent to ask Redis with")
    rig.ledger.record = .r1(isComplete: true)
    #expect(try rig.look() == "complete")
  }

  // MARK: Waiting

  @Test func `who waits looks again when the channel says so, once for each wish`() throws {
    let rig = try MirroredRig()
    var looks = 0
    rig.mirrored.awaitChange(within: .seconds(60)) { looks += 1 }
    try rig.settle()
    rig.agent.publish()
    rig.agent.publish()
    try rig.until("the look") { looks > 0 }
    try rig.settle()
    #expect(looks == 1)
    rig.mirrored.awaitChange(within: .seconds(60)) { looks += 10 }
    rig.agent.publish()
    try rig.until("the next look") { looks > 1 }
    #expect(looks == 11 && rig.agent.asked == ["watch"])
    #expect(rig.ledger.wishes == 2, "the ledger may know of it, too")
  }

  @Test(arguments: ["abandon", "unlock", "lose"])
  func `nobody is woken who does not wait any more`(end: String) throws {
    let rig = try MirroredRig()
    var looks = 0
    rig.mirrored.awaitChange(within: .seconds(60)) { looks += 1 }
    try rig.settle()
    switch end {
    case "abandon": rig.mirrored.abandon()
    case "unlock": rig.mirrored.unlock()
    default: rig.ledger.loseLock()
    }
    rig.agent.publish()
    try rig.settle()
    #expect(looks == 0 && rig.agent.asked == ["watch", "watch no more"])
  }

  @Test func `Redis lost in the middle of a look that was given up is nobody's business`() throws {
    let rig = try MirroredRig()
    rig.agent.redis = .away
    #expect(try rig.look() == "unavailable: Redis is away")
    rig.mirrored.abandon()
    rig.agent.redis = .up
    try rig.settle()
    #expect(rig.heard.count == 1)
  }

  // MARK: Writing

  @Test func `readiness is set once the ledger's write is durable, and the phase is told after both`() throws
  {
    let rig = try MirroredRig()
    rig.agent.onChange = { rig.ledger.journal.append($0) }
    rig.ledger.isSlow = true
    rig.mirrored.write(.r1(isComplete: true), isLast: true)
    try rig.settle()
    #expect(rig.agent.asked.isEmpty && rig.heard.isEmpty)
    rig.ledger.finishWrites()
    try rig.hears(1)
    #expect(rig.ledger.journal == ["complete", "set", "told"])
    #expect(rig.heard == ["written"] && rig.agent.value == "1")
  }

  @Test func `the claim takes away what an earlier start said, once, and completion says it anew`() throws {
    let rig = try MirroredRig()
    rig.agent.onChange = { rig.ledger.journal.append($0) }
    rig.agent.value = "1"
    for _ in 1...3 { rig.mirrored.write(.r1(isClaimed: true), isLast: false) }
    try rig.hears(3)
    #expect(rig.agent.value == nil)
    rig.mirrored.write(.r1(isComplete: true), isLast: true)
    try rig.hears(4)
    #expect(rig.agent.value == "1" && rig.agent.asked == ["clear", "set"])
    #expect(
      rig.ledger.journal.first == "claimed" && rig.ledger.journal.suffix(3) == ["complete", "set", "told"])
  }

  @Test func `what the ledger did not take is not said in Redis`() throws {
    let rig = try MirroredRig()
    rig.ledger.trouble = .storeFailed(StoreFailure("disk full"))
    rig.mirrored.write(.r1(isComplete: true), isLast: true)
    try rig.hears(1)
    rig.ledger.trouble = nil
    try rig.settle()
    #expect(rig.heard == ["failed: disk full"] && rig.agent.asked.isEmpty && rig.agent.value == nil)
    rig.mirrored.write(.r1(isClaimed: true), isLast: false)
    try rig.hears(2)
    #expect(rig.heard.last == "written" && rig.agent.asked == ["clear"], "the failed write is forgotten")
    rig.mirrored.write(.r1(isComplete: true), isLast: true)
    try rig.hears(3)
    #expect(rig.agent.value == "1", "the next try says it")
  }

  @Test(arguments: [StandInAgent.Redis.frozen, .away, .refusing])
  func `a release is complete without Redis, which is said`(redis: StandInAgent.Redis) throws {
    let rig = try MirroredRig()
    rig.agent.redis = redis
    let began = MonotonicInstant.now
    rig.mirrored.write(.r1(isComplete: true), isLast: true)
    try rig.hears(1)
    #expect(rig.heard == ["written"])
    #expect(rig.notes.count == 1)
    #expect(rig.notes.first?.hasPrefix("readiness could not be set in Redis") == true)
    let took = MonotonicInstant.now - began
    #expect((took >= MirroredRelease.patience) == (redis == .frozen) && took < .seconds(10))
    // Whoever looks next sets it.
    rig.agent.redis = .up
    #expect(try rig.look() == "complete")
    #expect(rig.agent.value == "1")
  }

  @Test(arguments: [StandInAgent.Redis.frozen, .away, .refusing])
  func `what could not be taken away is tried again with the next write`(redis: StandInAgent.Redis) throws {
    let rig = try MirroredRig()
    rig.agent.value = "1"
    rig.agent.redis = redis
    rig.mirrored.write(.r1(isClaimed: true), isLast: false)
    try rig.hears(1)
    rig.agent.redis = .up
    rig.mirrored.write(.r1(isClaimed: true), isLast: false)
    try rig.hears(2)
    #expect(rig.agent.value == nil && rig.agent.asked == ["clear", "clear"])
  }

  @Test func `a lock that is lost while readiness is set: the phase hears of nothing else`() throws {
    let rig = try MirroredRig()
    rig.agent.redis = .frozen
    rig.mirrored.write(.r1(isComplete: true), isLast: true)
    try rig.until("the question") { rig.agent.asked == ["set"] }
    rig.ledger.loseLock()
    var isOver = false
    rig.loop.schedule(after: MirroredRelease.patience + .milliseconds(200)) { isOver = true }
    try rig.until("the end of all patience") { isOver }
    #expect(rig.heard == ["lost"])
  }

  @Test func `a write that lost its lock sets nothing`() throws {
    let rig = try MirroredRig()
    rig.ledger.isSlow = true
    rig.mirrored.write(.r1(isComplete: true), isLast: true)
    rig.ledger.loseLock()
    rig.ledger.finishWrites()
    try rig.settle()
    #expect(rig.heard == ["lost"] && rig.agent.asked.isEmpty)
  }

  @Test func `clear takes it away in both, the ledger first`() throws {
    let rig = try MirroredRig()
    rig.agent.onChange = { rig.ledger.journal.append($0) }
    rig.agent.value = "1"
    rig.ledger.record = .r1(isComplete: true)
    rig.mirrored.remove()
    try rig.hears(1)
    #expect(rig.ledger.journal == ["removed", "clear", "told"])
    #expect(rig.heard == ["written"] && rig.agent.value == nil && rig.ledger.record == nil)
    #expect(try rig.look() == "nothing")
  }
}
