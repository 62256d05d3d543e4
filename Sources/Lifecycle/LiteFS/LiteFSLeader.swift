import Coordination
import LiteFS

/// The leader lock where LiteFS runs: being its primary.
final class LiteFSLeader: LeaderBackend {
  var onEvent: (LeaderElection.Event) -> Void = { _ in }
  var onNote: (LogLevel, String) -> Void = { _, _ in }

  private var role = LiteFSRole.unknown
  private var isWanted = false
  private var isHeld = false

  /// What this node is, as far as LiteFS serves here.
  func look(_ role: LiteFSRole) {
    guard role != self.role else { return }
    self.role = role
    if role == .primary { return take() }
    if isHeld {
      (isHeld, isWanted) = (false, false)
      return onEvent(.lockLost)
    }
    if isWanted { tellHolder() }
  }

  private func tellHolder() {
    if case .replica(let name) = role { onEvent(.lockBusy(holder: name)) }
  }

  private func take() {
    guard isWanted, !isHeld else { return }
    isHeld = true
    // LiteFS's lease has seen to it that nobody else is one.
    onEvent(.lockHeld(leftBy: ""))
  }

  func lock() {
    isWanted = true
    if role == .primary { take() } else { tellHolder() }
  }

  func release() { (isWanted, isHeld) = (false, false) }

  func abandon() { release() }

  /// The lease is LiteFS's, whose end is ours to see to, and not that of these.
  func guardGroup(_ group: CInt) {}

  func unguardGroup(_ group: CInt) {}

  func close() { release() }
}
