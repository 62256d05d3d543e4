import Glibc
import Synchronization
import Testing

/// Tests here block while they wait for processes. They run on a few threads of their own, so that they
/// neither starve the tests of other targets nor queue behind one another.
final class BlockingTests: TaskExecutor {
  static let shared = BlockingTests(threads: 6)

  private struct Queue {
    var jobs: [UnownedJob] = []
    var threads = 0
  }

  private let limit: Int
  private let queue = Mutex(Queue())
  /// Counts the jobs in the queue. Unsafe only in name: sem_post and sem_wait may be called from any thread,
  /// and the pointer never changes.
  private nonisolated(unsafe) let available: UnsafeMutablePointer<sem_t>

  private init(threads: Int) {
    limit = threads
    available = .allocate(capacity: 1)
    sem_init(available, 0, 0)
  }

  func enqueue(_ job: consuming ExecutorJob) {
    let unowned = UnownedJob(job)
    let needsThread = queue.withLock { queue in
      queue.jobs.append(unowned)
      guard queue.threads < limit else { return false }
      queue.threads += 1
      return true
    }
    sem_post(available)
    guard needsThread else { return }
    var thread = pthread_t()
    pthread_create(&thread, nil, runBlockingTests, nil)
    pthread_detach(thread)
  }

  func work() {
    while true {
      while sem_wait(available) != 0 { continue }
      let job = queue.withLock { $0.jobs.isEmpty ? nil : $0.jobs.removeFirst() }
      job?.runSynchronously(on: asUnownedTaskExecutor())
    }
  }
}

private func runBlockingTests(_: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  BlockingTests.shared.work()
  return nil
}

/// Runs a suite's tests on `BlockingTests`.
struct DrivesProcesses: SuiteTrait, TestTrait, TestScoping {
  let isRecursive = true

  func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    // A stage whose program has gone must not kill the whole run when a test writes to it.
    signal(SIGPIPE, SIG_IGN)
    let alone = test.tags.contains(.floods)
    await Gate.shared.enter(alone: alone)
    defer { Gate.shared.leave(alone: alone) }
    try await withTaskExecutorPreference(BlockingTests.shared) { try await function() }
  }
}

extension Tag {
  /// Fills the machine with processes or signals, so it runs alone.
  @Tag static var floods: Self
}

extension Trait where Self == DrivesProcesses {
  static var drivesProcesses: Self { Self() }
}

extension Trait where Self == ConditionTrait {
  /// New namespaces, other users and mounts.
  static var needsRoot: Self {
    .enabled(if: Programs.isRoot, "needs root: namespaces, mounts or other users")
  }
}
