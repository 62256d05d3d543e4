import Coordination
import EventLoop
import Phases
import Processes

/// The leader lock of the `file` backend.
final class FileLeader: LeaderBackend {
  static let mostHangingHelpers = 3

  var onEvent: (LeaderElection.Event) -> Void = { _ in }
  var onNote: (LogLevel, String) -> Void = { _, _ in }

  private let loop: EventLoop
  private let table: ProcessTable
  private let layout: FileLayout
  private let owner: String
  private var store: DirectoryStore?
  /// The present one, and those whose process has not ended yet.
  private var stores: [DirectoryStore] = []

  init(loop: EventLoop, table: ProcessTable, layout: FileLayout, owner: String) {
    self.loop = loop
    self.table = table
    self.layout = layout
    self.owner = owner
  }

  func lock() {
    do throws(StoreFailure) {
      // Each try needs a helper of its own, and those of a file system that hangs do not end even by KILL.
      stores.removeAll(where: \.hasEnded)
      guard stores.count < FileLeader.mostHangingHelpers else {
        throw StoreFailure("state_dir: the processes of earlier tries hang in \(layout.stateDirectory)")
      }
      let opened = try DirectoryStore(
        loop: loop, table: table, setting: "state_dir",
        directories: layout.stateDirectories.map { ($0, 0o755) }
      ) { [weak self] in
        self?.store = nil
        self?.onEvent(.lockLost)
      }
      store = opened
      stores.append(opened)
      opened.lock(
        layout.leaderLock, owner: owner, mustBeNamed: true,
        busy: { [weak self] holder in self?.onEvent(.lockBusy(holder: holder)) },
        { [weak self] result in
          switch result {
          case .success(let left): self?.onEvent(.lockHeld(leftBy: left))
          case .failure(let failure): self?.onEvent(.lockFailed(failure.text))
          }
        })
    } catch {
      onEvent(.lockFailed(error.text))
    }
  }

  func release() {
    store?.close()
    store = nil
  }

  func abandon() {
    store?.abandon()
    store = nil
  }

  func guardGroup(_ group: CInt) { store?.guardGroup(group) }

  func unguardGroup(_ group: CInt) { store?.unguardGroup(group) }

  func close() { store?.close() }
}
