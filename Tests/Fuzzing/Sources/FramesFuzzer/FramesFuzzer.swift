import AgentProtocol
import FuzzInput

/// Gives arbitrary bytes to both ends of the agent's socket. Whatever they are: no trap, the outcome does not depend on
/// how the bytes were cut, and what could be read says the same once it has been written again.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  guard let input = CutInput(start, count) else { return 0 }
  let whole = input.outcome(cutBy: input.first, decode)

  for frame in whole.frames {
    let again = decode([frame.bytes[...]])
    precondition(again.frames == [frame] && again.failure == nil)
    checkRequest(frame)
    checkReport(frame)
  }
  return 0
}

private struct Outcome: Equatable {
  var frames: [Frame] = []
  /// Why nothing more came out; nil at the end of a stream of whole frames.
  var failure: FrameError?
}

private func decode(_ pieces: [ArraySlice<UInt8>]) -> Outcome {
  var decoder = FrameDecoder()
  var outcome = Outcome()
  do throws(FrameError) {
    for piece in pieces {
      decoder.append(piece)
      while let frame = try decoder.next() { outcome.frames.append(frame) }
    }
    try decoder.finish()
  } catch {
    precondition(isPrintable("\(error)"))
    outcome.failure = error
    // How much of it is quoted depends on how much had come.
    if case .notAFrame = error { outcome.failure = .notAFrame(start: []) }
    // Nothing more comes out of it, whatever follows; what is only cut off may go on.
    if error != .truncated {
      decoder.append(AgentReport.heartbeat.frame.bytes)
      precondition((try? decoder.next()) == nil)
    }
  }
  return outcome
}

private func checkRequest(_ frame: Frame) {
  do throws(FrameError) {
    guard let request = try AgentRequest(frame) else { return }
    // Of a method that it does not know, a program keeps no more than the number.
    if case .startUnknownProbe = request { return }
    let again = try AgentRequest(request.frame)
    precondition(again == request)
  } catch {
    precondition(isPrintable("\(error)"))
  }
}

private func checkReport(_ frame: Frame) {
  do throws(FrameError) {
    guard let report = try AgentReport(frame) else { return }
    let again = try AgentReport(report.frame)
    precondition(again == report)
  } catch {
    precondition(isPrintable("\(error)"))
  }
}
