import Coordination
import EventLoop
import Glibc
import Journal
import Phases
import Processes

// The leader lock of the `file` backend, and what tells children and operators of the role.
extension Supervision {
  static let mostHangingHelpers = 3

  func perform(_ effect: LeaderElection.Effect) {
    switch effect {
    case .lock: lockLeadership()
    case .release:
      leaderStore?.close()
      leaderStore = nil
    case .abandon:
      leaderStore?.abandon()
      leaderStore = nil
    case .schedule(let deadline):
      schedule(.leader, at: deadline) { [weak self] in self?.submit(.leader(.timer)) }
    case .unschedule: unschedule(.leader)
    case .won, .lost, .note: break
    }
  }

  private func lockLeadership() {
    do throws(StoreFailure) {
      // Each try needs a helper of its own, and those of a file system that hangs do not end even by KILL.
      pastLeaderStores.removeAll(where: \.hasEnded)
      guard pastLeaderStores.count < Supervision.mostHangingHelpers else {
        throw StoreFailure("state_dir: the processes of earlier tries hang in \(layout.stateDirectory)")
      }
      let store = try DirectoryStore(
        loop: loop, table: table, setting: "state_dir",
        directories: layout.stateDirectories.map { ($0, 0o755) }
      ) { [weak self] in
        self?.leaderStore = nil
        self?.submit(.leader(.lockLost))
      }
      leaderStore = store
      pastLeaderStores.append(store)
      store.lock(
        layout.leaderLock, owner: owner, mustBeNamed: true,
        busy: { [weak self] holder in self?.submit(.leader(.lockBusy(holder: holder))) },
        { [weak self] result in
          switch result {
          case .success(let left): self?.submit(.leader(.lockHeld(leftBy: left)))
          case .failure(let failure): self?.submit(.leader(.lockFailed(failure.text)))
          }
        })
    } catch {
      submit(.leader(.lockFailed(error.text)))
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
