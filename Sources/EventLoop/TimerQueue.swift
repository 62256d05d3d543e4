/// Names one scheduled timer.
public struct TimerID: Hashable, Sendable {
  let serial: UInt64
}

/// Timers ordered by their deadline: a binary heap of (deadline, serial). A cancelled entry stays in the heap until
/// it comes to the top, or until cancelled entries outnumber live ones.
struct TimerQueue {
  private struct Entry {
    var deadline: MonotonicInstant
    var serial: UInt64

    func isBefore(_ other: Entry) -> Bool {
      deadline == other.deadline ? serial < other.serial : deadline < other.deadline
    }
  }

  private var heap: [Entry] = []
  private var actions: [UInt64: () -> Void] = [:]
  private var lastSerial: UInt64 = 0

  var count: Int { actions.count }

  mutating func insert(at deadline: MonotonicInstant, _ action: @escaping () -> Void) -> TimerID {
    lastSerial += 1
    actions[lastSerial] = action
    heap.append(Entry(deadline: deadline, serial: lastSerial))
    siftUp(from: heap.count - 1)
    return TimerID(serial: lastSerial)
  }

  mutating func cancel(_ timer: TimerID) {
    guard actions.removeValue(forKey: timer.serial) != nil else { return }
    if heap.count > 64, actions.count * 2 < heap.count { dropCancelled() }
  }

  /// The deadline of the next live timer.
  mutating func nextDeadline() -> MonotonicInstant? {
    while let top = heap.first {
      if actions[top.serial] != nil { return top.deadline }
      removeTop()
    }
    return nil
  }

  /// Takes the next timer that is due at `now`.
  mutating func popDue(at now: MonotonicInstant) -> (() -> Void)? {
    while let top = heap.first, top.deadline <= now {
      removeTop()
      if let action = actions.removeValue(forKey: top.serial) { return action }
    }
    return nil
  }

  private mutating func dropCancelled() {
    heap = heap.filter { actions[$0.serial] != nil }.sorted { $0.isBefore($1) }
  }

  private mutating func removeTop() {
    let last = heap.removeLast()
    guard !heap.isEmpty else { return }
    heap[0] = last
    siftDown(from: 0)
  }

  private mutating func siftUp(from start: Int) {
    var index = start
    while index > 0 {
      let parent = (index - 1) / 2
      guard heap[index].isBefore(heap[parent]) else { return }
      heap.swapAt(index, parent)
      index = parent
    }
  }

  private mutating func siftDown(from start: Int) {
    var index = start
    while true {
      var least = index
      for child in [2 * index + 1, 2 * index + 2]
      where child < heap.count && heap[child].isBefore(heap[least]) {
        least = child
      }
      if least == index { return }
      heap.swapAt(index, least)
      index = least
    }
  }
}
