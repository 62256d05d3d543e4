import Coordination
import EventLoop
import Phases
import ReleaseRecords

/// Lock and record of the infrastructure phase, as its effects want them. What comes of them is told by `onEvent`, in
/// the words of the phase, each in a turn of its own or at once.
protocol ReleaseBackend: AnyObject {
  /// Gets what happens.
  var onEvent: (InfrastructurePhase.Event) -> Void { get set }
  /// Gets what is worth a line in the log, and is no event.
  var onNote: (LogLevel, String) -> Void { get set }

  /// Reads the record.
  func read()
  /// Makes the record durable. `isLast`: the lock goes next.
  func write(_ record: ReleaseRecord, isLast: Bool)
  /// Removes the record; answered as a write.
  func remove()
  /// Takes the lock, and waits for it.
  func lock()
  /// The lock is still wanted after `lockFree`.
  func contend()
  /// Nobody waits for the lock any more, nor for any answer.
  func abandon()
  /// Gives the lock back.
  func unlock()
  /// Ends what a command of this step left behind in a server; answered with `remainsEnded`.
  func endRemains(of step: Int, named name: String)
  /// Calls `look` once when the record may have changed, if that can be told, within this time; replaces an earlier wish.
  func awaitChange(within limit: Duration, _ look: @escaping () -> Void)
  /// Should we vanish, this process group ends before the lock goes.
  func guardGroup(_ group: CInt)
  /// It has ended.
  func unguardGroup(_ group: CInt)
  /// Ends everything.
  func close()
}

/// The leader lock, as the election's effects want it.
protocol LeaderBackend: AnyObject {
  /// Gets what happens.
  var onEvent: (LeaderElection.Event) -> Void { get set }
  /// Gets what is worth a line in the log, and is no event.
  var onNote: (LogLevel, String) -> Void { get set }

  /// Takes the lock, and waits for it.
  func lock()
  /// Gives it back, or stops waiting.
  func release()
  /// Lets it go as one who vanishes.
  func abandon()
  /// Should we vanish, this process group ends before the lock goes.
  func guardGroup(_ group: CInt)
  /// It has ended.
  func unguardGroup(_ group: CInt)
  /// Ends everything.
  func close()
}
