import AgentProtocol

/// Gives arbitrary bytes to both ends of the agent's socket. Whatever they are: no trap, the outcome does not depend on
/// how the bytes were cut, and what could be read says the same once it has been written again.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = UnsafeBufferPointer(start: start, count: count)
  // The first byte says how the rest is cut.
  guard let first = input.first else { return 0 }
  let bytes = Array(input.dropFirst())
  let whole = decode(bytes, portion: max(bytes.count, 1))
  precondition(whole == decode(bytes, portion: Int(first) % 17 + 1))

  for frame in whole.frames {
    let again = decode(frame.bytes, portion: 1024)
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

private func decode(_ bytes: [UInt8], portion: Int) -> Outcome {
  var decoder = FrameDecoder()
  var outcome = Outcome()
  var index = 0
  do throws(FrameError) {
    while index < bytes.count {
      decoder.append(bytes[index..<min(index + portion, bytes.count)])
      index += portion
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

private func isPrintable(_ text: String) -> Bool {
  text.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value < 0x7f }
}
