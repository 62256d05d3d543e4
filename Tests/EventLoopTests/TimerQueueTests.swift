import Testing

@testable import EventLoop

struct TimerQueueTests {
  private func instant(_ value: UInt64) -> MonotonicInstant { MonotonicInstant(nanoseconds: value) }

  @Test func `timers fire by deadline, those of one deadline in the order they were made`() {
    var queue = TimerQueue()
    let log = Log()
    for (name, deadline) in [("c", 30), ("a1", 10), ("b", 20), ("a2", 10), ("a3", 10)] as [(String, UInt64)] {
      _ = queue.insert(at: instant(deadline)) { log.add(name) }
    }
    #expect(queue.nextDeadline() == instant(10))
    while let action = queue.popDue(at: instant(20)) { action() }
    #expect(log.entries == ["a1", "a2", "a3", "b"])
    #expect(queue.nextDeadline() == instant(30))
    #expect(queue.popDue(at: instant(29)) == nil)
  }

  @Test func `a cancelled timer neither fires nor counts, cancelling twice or after the fact is nothing`() {
    var queue = TimerQueue()
    let log = Log()
    let first = queue.insert(at: instant(1)) { log.add("first") }
    let second = queue.insert(at: instant(2)) { log.add("second") }
    queue.cancel(first)
    queue.cancel(first)
    #expect(queue.count == 1)
    #expect(queue.nextDeadline() == instant(2))
    queue.popDue(at: instant(9))?()
    queue.cancel(second)
    #expect(log.entries == ["second"])
    #expect(queue.nextDeadline() == nil)
    #expect(queue.count == 0)
  }

  @Test(arguments: [UInt64(1), 2, 3, 4, 5, 6, 7, 8])
  func `a thousand timers with cancel storms fire as a plain sorted list would`(seed: UInt64) {
    var random = Random(seed: seed)
    var queue = TimerQueue()
    let log = Log()
    var model: [(deadline: UInt64, order: Int)] = []
    var ids: [(TimerID, Int)] = []
    var order = 0
    var clock: UInt64 = 0
    for _ in 0..<1000 {
      switch random.below(10) {
      case 0..<5:
        let deadline = clock + random.below(500)
        let number = order
        order += 1
        ids.append((queue.insert(at: instant(deadline)) { log.add("\(number)") }, number))
        model.append((deadline, number))
      case 5..<8:
        // A storm: most of what there is goes at once.
        guard random.below(4) == 0 else { continue }
        for _ in 0..<(ids.count * 3 / 4) {
          let (id, number) = ids.remove(at: Int(random.below(UInt64(ids.count))))
          queue.cancel(id)
          model.removeAll { $0.order == number }
        }
      default:
        clock += random.below(100)
        log.entries = []
        while let action = queue.popDue(at: instant(clock)) { action() }
        let due = model.filter { $0.deadline <= clock }.sorted {
          ($0.deadline, $0.order) < ($1.deadline, $1.order)
        }
        #expect(log.entries == due.map { "\($0.order)" })
        model.removeAll { $0.deadline <= clock }
      }
      #expect(queue.count == model.count)
      #expect(queue.nextDeadline() == model.map(\.deadline).min().map(instant))
    }
  }
}
