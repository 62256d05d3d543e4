import Coordination
import EventLoop
import ReleaseRecords

@testable import Phases

// What must never happen.
extension InfrastructureCluster {
  func store(_ new: ReleaseRecord, by index: Int, removes: Bool) {
    if lockOwner != index { problems.append("\(nodes[index].owner) writes without the lock") }
    for entry in record?.entries ?? [] where !new.entries.contains(entry) && !removes {
      guard !nodes[index].doubted.contains(entry.step) else { continue }
      problems.append("\(entry.step) is not recorded done any more")
    }
    if new.completedAt != nil {
      wasComplete = true
      if !steps.allSatisfy({ new.isDone($0.name, hash: $0.hash) }) {
        problems.append("complete without all steps")
      }
    }
    if Set(new.entries.map(\.step)).count != new.entries.count { problems.append("recorded twice") }
    record = new
  }

  func run(_ index: Int, _ step: Int, _ command: StepCommand, _ outputs: [StepOutput]) {
    let name = steps[step].name
    let what = "\(nodes[index].owner): \(word(command)) \(name)"
    if nodes[index].commands[step] != nil { problems.append("\(what) beside its own command") }
    let isVerification = nodes[index].phase.state == .verifying
    let isLocked = nodes[index].phase.holdsLock
    nodes[index].commands[step] = Command(command: command, isLocked: isLocked)
    if !isLocked {
      if !isVerification { problems.append("\(what) without the lock") }
      return
    }
    if lockOwner != index { problems.append("\(what) without the lock") }
    if nodes[index].commands.count > rules.parallelism { problems.append("\(what): too many at once") }
    for other in nodes.indices where other != index {
      if nodes[other].commands.contains(where: \.value.isLocked) {
        problems.append("\(what) beside \(nodes[other].owner)'s commands")
      }
    }
    if orphans != nil { problems.append("\(what) beside what a vanished node ran") }
    if isVerification { return }
    if record?.claim?.owner != nodes[index].owner { problems.append("\(what) without a claim") }
    if record?.isDone(name, hash: steps[step].hash) == true {
      problems.append("\(what) though recorded done")
    }
    let needed = record?.entries.filter { steps[step].needs.contains($0.step) }.flatMap(\.outputs) ?? []
    if !needed.allSatisfy({ outputs.contains($0) }) {
      problems.append("\(what) without what it needs to know")
    }
    let needing = steps.filter { $0.needs.contains(name) }
    switch command {
    case .main, .check:
      if record?.claim?.running.contains(where: { $0.step == name }) != true {
        problems.append("\(what) without being named in the claim")
      }
      for need in steps[step].needs where record?.entries.contains(where: { $0.step == need }) != true {
        problems.append("\(what) before \(need) is recorded")
      }
    case .rollback:
      for other in needing where record?.isDone(other.name, hash: other.hash) == true {
        problems.append("\(what) while \(other.name) is recorded done")
      }
    }
    if record?.completedAt != nil { problems.append("\(what) while the record says complete") }
  }

  func finished(_ index: Int, _ outcome: InfrastructurePhase.Outcome) {
    if !nodes[index].commands.isEmpty { problems.append("finished while a command runs") }
    if case .ready = outcome, !wasComplete { problems.append("ready without readiness") }
    nodes[index].outcomes.append(outcome)
    outcomes.append(outcome)
    if nodes[index].outcomes.count > 1 { problems.append("finished twice") }
    // `unlocked` may have been overtaken by a failure of the store; the helper is closed either way.
    if lockOwner == index { lockOwner = nil }
  }
}
