import Coordination
import EventLoop
import Glibc
import Journal
import Phases
import Processes

// The leader lock, and what tells children and operators of the role.
extension Supervision {
  func perform(_ effect: LeaderElection.Effect) {
    switch effect {
    case .lock: leader.lock()
    case .release: leader.release()
    case .abandon: leader.abandon()
    case .schedule(let deadline):
      schedule(.leader, at: deadline) { [weak self] in self?.submit(.leader(.timer)) }
    case .unschedule: unschedule(.leader)
    case .won, .lost, .note: break
    }
  }

  /// The role file is replaced as a whole, so that a reader finds one word or the other.
  func publish(_ role: Snapshot.Role) {
    let path = "\(identity.runDirectory)/role"
    let temporary = "\(path).new"
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o644)
    guard descriptor >= 0 else { return note(.warning, "cannot write \(path): \(errorText(errno))") }
    let text = Array("\(role.rawValue)\n".utf8)
    let written = write(descriptor, text, text.count)
    close(descriptor)
    guard written == text.count, rename(temporary, path) == 0 else {
      return note(.warning, "cannot write \(path): \(errorText(errno))")
    }
  }
}
