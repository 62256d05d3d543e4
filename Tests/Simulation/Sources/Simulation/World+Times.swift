import EventLoop

// How long things take, and where what steps do can be seen.
extension World {
  func latency() -> Duration {
    let bad = scenario.store
    if bad.hangsPerMille > 0, random.number(0...999) < bad.hangsPerMille {
      return random.duration(.seconds(8)...(.seconds(30)))
    }
    if bad.slowPercent > 0, random.chance(bad.slowPercent) { return random.duration(bad.slow) }
    return random.duration(bad.usual)
  }

  /// From the helper's answer to PID 1's turn.
  func replyLatency() -> Duration {
    // A helper that is not scheduled for a while tells of what was.
    if random.chance(scenario.store.slowRepliesPercent) {
      return random.duration(.milliseconds(1)...(.milliseconds(500)))
    }
    return random.duration(.microseconds(20)...(.milliseconds(1)))
  }

  /// From KILL to the end: soon, but a process may have much to give back.
  func killDelay() -> Duration {
    random.duration(
      random.chance(10) ? .milliseconds(1)...(.milliseconds(500)) : .milliseconds(1)...(.milliseconds(30)))
  }

  /// Where what a phase's steps do can be seen: everywhere, or on this host.
  func scope(_ life: Life, _ phase: LockKind) -> String {
    phase == .infrastructure ? life.release.runID.value : "\(life.host)/\(life.release.runID.value)"
  }
}
