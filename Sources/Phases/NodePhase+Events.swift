import EventLoop
import ReleaseRecords

// What the node phase and its owner say to each other.
extension NodePhase {
  /// What happens to it.
  public enum Event: Sendable {
    /// Start; what the infrastructure phase's steps gave to later ones.
    case begin([StepOutput])
    /// The release is ready (`Rules.awaitsRelease`); what the infrastructure phase's steps gave to later ones.
    case released([StepOutput])
    /// The marker that was asked for; nil: there is none.
    case marker(Marker?)
    /// The marker cannot be read or written.
    case storeFailed(StoreFailure)
    /// Another process has the lock; what it wrote into it.
    case lockBusy(holder: String)
    /// The lock is ours; see `InfrastructurePhase.Event.lockHeld`.
    case lockHeld(leftBy: String)
    /// The lock cannot be taken.
    case lockFailed(StoreFailure)
    /// The lock is not ours any more, or not waited for any more, though we did not say so.
    case lockLost
    /// The marker is durable.
    case written
    /// The lock is released.
    case unlocked
    /// Which part of a failing step's work is still to be done; comes before its `commandEnded`.
    case unfinished(step: Int, [String])
    /// A command of a step ended.
    case commandEnded(step: Int, CommandResult)
    /// The time of the last `schedule` has come.
    case timer
    /// The time of the last `schedule` of this step has come.
    case stepTimer(step: Int)
    /// The supervisor stops.
    case interrupt
  }

  /// What is to be done.
  public enum Effect: Sendable, Equatable {
    /// Read the marker; answer with `marker` or `storeFailed`.
    case read
    /// Wait for release readiness; answer with `released`, or end the phase otherwise.
    case awaitRelease
    /// Make the marker durable; answer with `written` or `storeFailed`.
    case write(Marker)
    /// Take the lock; answer with `lockBusy` (at most once), then `lockHeld` or `lockFailed`.
    case lock
    /// Stop waiting for the lock.
    case abandonLock
    /// Release it; answer with `unlocked`. The next holder still learns of one that vanished, when what that one ran has
    /// not had the time to end.
    case unlock
    /// Something about this step.
    case step(Int, StepEffect)
    /// Feed `timer` at this time; replaces an earlier wish.
    case schedule(MonotonicInstant)
    /// No timer is wanted any more.
    case unschedule
    /// Waits for this holder.
    case waiting(holder: String)
    /// Worth a line in the log.
    case note(String)
    /// Over.
    case finished(Outcome)
  }

  /// How the phase ended.
  public enum Outcome: Sendable, Equatable {
    /// Complete; `failedSteps` were skipped. `ran`: here and now.
    case done(ran: Bool, failedSteps: [String])
    /// A fatal step failed.
    case failed(step: String, reason: String)
    /// The lock did not become free in time.
    case timedOut(String)
    /// Marker or lock cannot be used.
    case storeUnusable(StoreFailure)
    /// The lock was lost while a step ran.
    case lockLost
    /// The supervisor stops.
    case interrupted
  }

  /// How the phase waits.
  public struct Rules: Sendable, Equatable {
    /// Of waiting for the lock; nil: without end.
    public var timeout: Duration? = .seconds(300)
    /// Pause after the last holder of the lock has vanished.
    public var takeoverDelay: Duration = .seconds(3)
    /// Whether readiness of the release is still to be waited for, when the marker does not cover everything.
    public var awaitsRelease = false
    /// Where marker and lock are, for messages.
    public var place = "node.marker_dir"

    /// The defaults.
    public init() {}
  }
}
