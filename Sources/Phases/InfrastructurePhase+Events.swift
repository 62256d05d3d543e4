import EventLoop
import ReleaseRecords

// What the infrastructure phase and its owner say to each other.
extension InfrastructurePhase {
  /// What happens to it.
  public enum Event: Sendable {
    /// Start.
    case begin
    /// The record that was asked for; nil: there is none yet.
    case record(ReleaseRecord?)
    /// The record cannot be read or written.
    case storeFailed(StoreFailure)
    /// A server that has record or lock cannot be used now; what was asked for is tried again and still answered.
    case storeUnavailable(StoreFailure)
    /// While we wait for the lock: its holder is gone, and the record is this now. Wants `contend`, unless there is
    /// nothing left to do.
    case lockFree(ReleaseRecord?)
    /// Another process has the lock; what it wrote into it. Again when that changes, and with each sign of its life.
    case lockBusy(holder: String)
    /// The lock is ours. `leftBy` is whom it names as its holder, when that one did not give it back but vanished;
    /// else empty.
    case lockHeld(leftBy: String)
    /// The lock cannot be taken.
    case lockFailed(StoreFailure)
    /// The lock is not ours any more, or not waited for any more, though we did not say so.
    case lockLost
    /// What was to be written is durable; answers come in the order of the requests.
    case written
    /// The lock is released.
    case unlocked
    /// These parts of a running step's work are done; the last ones come before its `commandEnded`.
    case partsDone(step: Int, [String])
    /// A command of a step ended.
    case commandEnded(step: Int, CommandResult)
    /// Nothing of what the step's command ran in a server is left; or some is, for this reason.
    case remainsEnded(step: Int, StoreFailure?)
    /// The time of the last `schedule` or `awaitChange` has come, or the record has changed.
    case timer
    /// The time of the last `schedule` of this step has come.
    case stepTimer(step: Int)
    /// The time of the last `scheduleHeartbeat` has come.
    case heartbeat
    /// The supervisor stops.
    case interrupt
  }

  /// What is to be done.
  public enum Effect: Sendable, Equatable {
    /// Read the record; answer with `record` or `storeFailed`.
    case read
    /// Make the record durable; answer with `written` or `storeFailed`.
    case write(ReleaseRecord)
    /// Take the lock; answer with `lockBusy` (if at all), then `lockHeld` or `lockFailed`.
    case lock
    /// The lock is still wanted, now that its holder is gone.
    case contend
    /// Stop waiting for the lock, if it is not held yet; no read or write that is still due is answered any more.
    case abandonLock
    /// Release it; answer with `unlocked`. The next holder still learns of one that vanished, when what that one ran has
    /// not had the time to end.
    case unlock
    /// Something about this step.
    case step(Int, StepEffect)
    /// Its command has ended: end what that one may have left behind in a server, where a statement outlives its client;
    /// answer with `remainsEnded`.
    case endRemains(step: Int)
    /// Feed `timer` at this time; replaces an earlier wish.
    case schedule(MonotonicInstant)
    /// Feed `timer` when the record changes, and at this time at the latest; replaces an earlier wish.
    case awaitChange(MonotonicInstant)
    /// No timer is wanted any more.
    case unschedule
    /// Feed `heartbeat` at this time; nil: none is wanted any more.
    case scheduleHeartbeat(MonotonicInstant?)
    /// Waits for this holder.
    case waiting(holder: String)
    /// Worth a line in the log.
    case note(String)
    /// Over.
    case finished(Outcome)
  }

  /// How the phase ended.
  public enum Outcome: Sendable, Equatable {
    /// Complete. `ran`: here and now, not before or elsewhere. What the steps gave to later ones.
    case ready(ran: Bool, outputs: [StepOutput])
    /// A step failed, here or on the node that was waited for.
    case failed(step: String, reason: String)
    /// The lock did not become free, or the release not ready, in time.
    case timedOut(String)
    /// Record or lock cannot be used.
    case storeUnusable(StoreFailure)
    /// The lock was lost while it was needed.
    case lockLost
    /// The supervisor stops.
    case interrupted
  }
}
