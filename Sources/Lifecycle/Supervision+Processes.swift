import CLinux
import Checks
import EventLoop
import Frameworks
import Glibc
import Journal
import Phases
import Processes

extension Supervision {
  func perform(_ effect: SupervisedProcess.Effect, of id: ProcessID) {
    switch effect {
    case .spawn(let incarnation): spawn(id, incarnation)
    case .signalLeader(.terminate) where id == .litefs: endLiteFS()
    case .signalLeader(let signal): send(signal, to: id)
    case .signalGroup(let signal):
      if let group = lifecycle.group(of: id) { table.signalGroup(group, signal) }
    case .schedule(let deadline):
      schedule(.process(id), at: deadline) { [weak self] in self?.submit(.process(id, .timer)) }
    case .unschedule: unschedule(.process(id))
    case .stopped, .willRestart, .ended: break
    }
  }

  private func image(of id: ProcessID) -> ProcessImage? {
    switch id {
    case .app, .service: return launch.processes[id].map(withRole)
    case .roleHook: return launch.roleHook.map(withRole)
    case .litefs: return launch.litefs?.image
    case .infrastructureStep, .nodeStep:
      // During the phases nobody is the primary yet.
      return lifecycle.leader.isActive ? stepImage(of: id).map(withRole) : stepImage(of: id)
    }
  }

  /// What a process is told of the role it starts in.
  private func withRole(_ image: ProcessImage) -> ProcessImage {
    guard lifecycle.plan.takesPartInElection else { return image }
    var image = image
    let role = lifecycle.role
    image.environment.set("SUPERVISOR_ROLE", to: RawString(role.rawValue))
    image.environment.set("SUPERVISOR_PRIMARY", to: role == .primary ? "1" : "0")
    return image
  }

  private func stepImage(of id: ProcessID) -> ProcessImage? {
    var image: ProcessImage?
    switch commands[id] {
    case .check: image = launch.checks[id]
    case .rollback: image = launch.rollbacks[id]
    case .main, nil: image = launch.steps[id]
    }
    for input in stepInputs[id] ?? [] {
      image?.environment.set(input.key, to: RawString(input.value))
    }
    outputFiles[id] = nil
    guard commands[id] == .main, let made = image else { return image }
    if launch.hookSteps.contains(id) {
      image?.environment.set(DjangoProgram.resultFileVariable, to: prepareResults(of: id, made))
    }
    do throws(SystemError) {
      let file = try OutputFile(
        path: "\(identity.runDirectory)/\(OutputFile.name(of: id))", owner: made.identity)
      outputFiles[id] = file
      image?.environment.set("SUPERVISOR_OUTPUT", to: RawString(file.path))
    } catch {
      note(.warning, "\(lifecycle.name(of: id)): \(error); it can give nothing to later steps")
    }
    return image
  }

  /// Where a step that calls hooks tells of each.
  private func prepareResults(of id: ProcessID, _ image: ProcessImage) -> RawString {
    let path = "\(identity.runDirectory)/\(OutputFile.name(of: id))-hooks"
    do throws(SystemError) {
      hookFiles[id] = try OutputFile(path: path, owner: image.identity)
      guard case .infrastructureStep = id else { return RawString(path) }
      // Without it what is done is known when the program has ended.
      hookWatches[id] = try? FileWatch(loop: loop, path: path) { [weak self] in self?.tellPartsDone(of: id) }
    } catch {
      note(.warning, "\(lifecycle.name(of: id)): \(error); its hooks can tell nothing")
    }
    return RawString(path)
  }

  /// A hook is recorded as soon as it is done: it is not called again, whatever happens after it.
  private func tellPartsDone(of id: ProcessID) {
    guard case .infrastructureStep(let index) = id, let results = hookResults(of: id) else { return }
    submit(.infrastructure(.partsDone(step: index, results.done)))
  }

  private func hookResults(of id: ProcessID) -> HookResults? {
    hookFiles[id].flatMap { HookResults.decode($0.bytes(limit: 1 << 20)) }
  }

  /// A hook can fail, or end its process, and leave the exit code 0.
  private func takeHookResults(of id: ProcessID) {
    guard let file = hookFiles[id] else { return }
    tellPartsDone(of: id)
    let results = hookResults(of: id)
    file.remove()
    hookFiles[id] = nil
    hookWatches[id] = nil
    guard let results else {
      return submit(.commandResult(id, .failed("what its hooks told cannot be read")))
    }
    guard let problem = results.problem else { return }
    if case .nodeStep(let index) = id, !results.unfinished.isEmpty {
      submit(.node(.unfinished(step: index, results.unfinished)))
    }
    submit(.commandResult(id, .failed(problem)))
  }

  /// What a step's command that exited with 0 gave to later ones; a file that cannot be used fails the step.
  private func takeOutputs(of id: ProcessID, _ status: ExitStatus) {
    guard let file = outputFiles.removeValue(forKey: id) else { return }
    guard status == .exited(0) else { return file.remove() }
    do throws(StepOutputs.Malformed) {
      submit(.commandResult(id, .succeeded(outputs: try file.take())))
    } catch {
      submit(.commandResult(id, .failed("\(error)")))
    }
  }

  private func spawn(_ id: ProcessID, _ incarnation: Int) {
    guard let image = image(of: id) else { return }
    // What arrives about an earlier incarnation is dropped here. A step's command is a new process value each time,
    // but never before the last one is gone.
    let isCurrent = { [weak self] () -> Bool in self?.lifecycle.incarnation(of: id) == incarnation }
    do throws(SpawnFailure) {
      if id == .litefs { try prepareLiteFS() }
      var group: CInt = 0
      let pid = try table.spawn(
        image,
        started: { [weak self] failure in
          // Its end is told to nobody: this is all that is heard of it.
          if failure != nil { self?.unguard(id, group) }
          guard isCurrent() else { return }
          self?.submit(.process(id, failure.map { .startFailed($0) } ?? .started))
        },
        ended: { [weak self] status in
          guard let self else { return }
          let groupIsEmpty = !table.groupExists(group)
          if groupIsEmpty { unguard(id, group) }
          guard isCurrent() else { return }
          failedSignals.remove(id)
          if id == .litefs { litefs?.processRuns(false) }
          if status == .signaled(.kill) { explainKill(of: lifecycle.name(of: id)) }
          takeOutputs(of: id, status)
          takeHookResults(of: id)
          submit(.process(id, .ended(status, groupIsEmpty: groupIsEmpty)))
        })
      group = pid
      guardGroup(id, pid)
      submit(.process(id, .spawned(pid: pid)))
    } catch {
      explainShortage(error)
      submit(.process(id, .startFailed(error)))
    }
  }

  // MARK: Health

  func perform(_ effect: ServiceHealth.Effect, of id: ProcessID) {
    switch effect {
    case .probe(let run, let timeout): probe(id, run, timeout)
    case .cancelProbe(let run):
      guard let probe = probes[id], probe.run == run else { return }
      probes[id] = nil
      probe.handle.cancel()
    case .scheduleTimer(let deadline):
      schedule(.health(id), at: deadline) { [weak self] in self?.submit(.health(id, .timer)) }
    case .cancelTimer: unschedule(.health(id))
    case .changed: break
    }
  }

  private func probe(_ id: ProcessID, _ run: ServiceHealth.Run, _ timeout: Duration) {
    guard let method = lifecycle.checkMethod(of: id) else { return }
    let report = { [weak self] (outcome: CheckOutcome) -> Void in
      if self?.probes[id]?.run == run { self?.probes[id] = nil }
      self?.submit(.health(id, .result(run, outcome)))
    }
    let handle: any ProbeHandle
    switch method {
    case .http(let target):
      handle = HTTPProbe.start(loop: loop, target: target, timeout: timeout, completion: report)
    case .tcp(let endpoint):
      handle = TCPProbe.start(loop: loop, address: endpoint, timeout: timeout, completion: report)
    case .exec(let command):
      guard let process = launch.processes[id] else { return }
      handle = ExecProbe.start(
        loop: loop, table: table, image: Planner.checkImage(command, of: process), timeout: timeout,
        completion: report)
    }
    probes[id] = (run, handle)
  }
}
