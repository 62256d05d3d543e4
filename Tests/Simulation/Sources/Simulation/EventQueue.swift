import EventLoop

/// What is still to happen, the earliest first; what is due at the same time in the order in which it was added.
struct EventQueue {
  private struct Item {
    let time: MonotonicInstant
    let order: UInt64
    let action: () -> Void

    func isBefore(_ other: Item) -> Bool { time == other.time ? order < other.order : time < other.time }
  }

  private var heap: [Item] = []
  private var added: UInt64 = 0

  var isEmpty: Bool { heap.isEmpty }

  mutating func add(at time: MonotonicInstant, _ action: @escaping () -> Void) {
    heap.append(Item(time: time, order: added, action: action))
    added += 1
    var child = heap.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard heap[child].isBefore(heap[parent]) else { return }
      heap.swapAt(child, parent)
      child = parent
    }
  }

  mutating func removeFirst() -> (time: MonotonicInstant, action: () -> Void)? {
    guard let first = heap.first else { return nil }
    let last = heap.removeLast()
    guard !heap.isEmpty else { return (first.time, first.action) }
    heap[0] = last
    var parent = 0
    while true {
      let left = 2 * parent + 1
      guard left < heap.count else { break }
      let right = left + 1
      let child = right < heap.count && heap[right].isBefore(heap[left]) ? right : left
      guard heap[child].isBefore(heap[parent]) else { break }
      heap.swapAt(child, parent)
      parent = child
    }
    return (first.time, first.action)
  }
}
