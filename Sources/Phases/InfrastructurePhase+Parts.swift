import Coordination
import ReleaseRecords

// A step may have several things to do, as one that calls hooks has. Each is recorded as soon as it is done, and not done
// again when the step is tried again, by whomever.
extension InfrastructurePhase {
  mutating func partsDone(_ index: Int, _ names: [String]) -> [Effect] {
    let step = steps[index]
    guard holdsLock, state == .working, graph.state(of: index) == .running else { return [] }
    let known = record.parts(of: step.name, hash: step.hash)
    let new = names.filter { !known.contains($0) }
    guard !new.isEmpty else { return [] }
    record.parts += new.map { ReleaseRecord.Part(step: step.name, hash: step.hash, name: $0) }
    return write()
  }

  mutating func forgetParts(of indexes: [Int]) {
    record.parts.removeAll { part in indexes.contains { steps[$0].name == part.step } }
  }

  /// What a command gets from earlier steps, and which parts of its own step's work were done before.
  func inputs(of index: Int, _ command: StepCommand) -> [StepOutput] {
    if command == .rollback { return rollbackOutputs }
    let parts = record.parts(of: steps[index].name, hash: steps[index].hash)
    guard command == .main, !parts.isEmpty else { return record.outputs }
    return record.outputs + [StepOutput(key: "SUPERVISOR_DONE", value: parts.joined(separator: " "))]
  }
}
