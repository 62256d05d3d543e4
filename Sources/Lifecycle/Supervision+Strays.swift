import CLinux
import EventLoop
import Glibc
import Journal
import Processes

/// How a process that left its group is told to be somebody's: each process is started with its name in a variable, and
/// what it starts inherits it.
public enum StrayMark {
  /// The variable.
  public static let variable = "SUPERVISOR_PROCESS"

  /// Whether an environment, as /proc shows it, carries this mark.
  public static func isIn(_ environment: [UInt8], _ mark: RawString) -> Bool {
    let wanted = Array("\(variable)=".utf8) + mark.bytes
    return environment.split(separator: 0).contains { $0.elementsEqual(wanted) }
  }
}

// Processes below us that are none of ours: those that left their group, and those that lost their parent.
extension Supervision {
  /// All of them; nil without /proc.
  private func strays() -> [ProcessRecord]? {
    guard let all = try? ProcessTree.all() else { return nil }
    let own = getpid()
    // A zombie of ours is about to be reaped; one of somebody else's is that one's matter.
    return ProcessTree.descendants(of: own, in: all).filter {
      !table.contains($0.pid) && ($0.state != "Z" || $0.parent == own)
    }
  }

  /// At the end of the stop: everybody.
  func sweep(_ signals: [Signal]) {
    table.reap()
    guard !table.hasNoChildren else { return submit(.strays(0)) }
    guard let found = strays() else {
      // Without /proc only PID 1 can reach them, by signalling everybody.
      if getpid() == 1 { for signal in signals { _ = clinux_kill(-1, signal.rawValue) } }
      return submit(.strays(getpid() == 1 ? 1 : 0))
    }
    if signals.contains(.terminate), !found.isEmpty {
      let names = found.prefix(10).map { "\($0.name) (\($0.pid))" }.joined(separator: ", ")
      log.write(.info, "left their group: \(names)\(found.count > 10 ? ", …" : "")")
    }
    for record in found { for signal in signals { _ = clinux_kill(record.pid, signal.rawValue) } }
    submit(.strays(found.count))
  }

  /// Those of one process: our adopted children that carry its mark, and all that is below them.
  func findStrays(of id: ProcessID) {
    let adopted = ProcessTree.children(of: getpid()).filter { !table.contains($0) && isRunning($0) }
    guard !adopted.isEmpty, let mark = mark(of: id) else { return submit(.straysFound(id, [])) }
    // Reading an environment waits for the process's memory map, so a helper does it: one for each search, since two
    // may be under way and the end of one must not take the answers of the other away.
    do throws(FileFailure) {
      let helper = try FileHelper(loop: loop, table: table)
      helper.patience = .seconds(1)
      lastSearch += 1
      searches[lastSearch] = helper
      look(for: mark, in: adopted[...], found: [], search: lastSearch) { [weak self] found in
        guard let self else { return }
        submit(.straysFound(id, withDescendants(found)))
      }
    } catch {
      submit(.straysFound(id, []))
    }
  }

  /// One after the other, because so many requests as there may be orphans do not fit into a socket.
  private func look(
    for mark: RawString, in pids: ArraySlice<CInt>, found: [CInt], search: Int,
    _ completion: @escaping ([CInt]) -> Void
  ) {
    guard let helper = searches[search] else { return completion(found) }
    guard let pid = pids.first else {
      helper.close()
      searches[search] = nil
      return completion(found)
    }
    helper.read("/proc/\(pid)/environ") { [weak self] result in
      var found = found
      if case .success(let bytes) = result, StrayMark.isIn(bytes, mark) { found.append(pid) }
      self?.look(for: mark, in: pids.dropFirst(), found: found, search: search, completion)
    }
  }

  private func mark(of id: ProcessID) -> RawString? {
    (launch.processes[id] ?? launch.steps[id])?.environment.value(of: StrayMark.variable)
  }

  private func withDescendants(_ pids: [CInt]) -> [CInt] {
    guard !pids.isEmpty, let all = try? ProcessTree.all() else { return pids }
    let below = pids.flatMap { ProcessTree.descendants(of: $0, in: all) }.filter { $0.state != "Z" }
    return pids + below.map(\.pid)
  }

  private func isRunning(_ pid: CInt) -> Bool {
    var raw = clinux_process()
    return clinux_process_read(pid, &raw) == 0 && ProcessRecord.isRunning(raw)
  }

  /// Whether the process is there and ours to signal: a number that was given to somebody else is not.
  func isBelowUs(_ pid: CInt) -> Bool {
    var raw = clinux_process()
    var current = pid
    var isFirst = true
    // A tree is not deeper than this unless it changes under our eyes.
    for _ in 0..<64 {
      guard clinux_process_read(current, &raw) == 0 else { return false }
      if isFirst, !ProcessRecord.isRunning(raw) { return false }
      isFirst = false
      if raw.parent == getpid() { return true }
      if raw.parent <= 1 { return false }
      current = raw.parent
    }
    return false
  }

  /// For the pages: our children that we did not start.
  func strayView() -> Snapshot.Strays {
    let children = ProcessTree.children(of: getpid()).filter { !table.contains($0) }
    return Snapshot.Strays(
      count: children.count, names: children.prefix(10).compactMap { ProcessTree.name(of: $0) })
  }
}
