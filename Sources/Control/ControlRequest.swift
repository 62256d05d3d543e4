import EventLoop

/// A change that somebody asks for over the control socket.
public enum ControlRequest: Sendable, Equatable {
  /// Stop the process and start it again.
  case restart(String)
  /// Stop the process and leave it stopped.
  case stop(String)
  /// Start the process.
  case start(String)
  /// Send the process's leader a signal.
  case signal(String, Signal)

  /// The process it is about.
  public var processName: String {
    switch self {
    case .restart(let name), .stop(let name), .start(let name), .signal(let name, _): name
    }
  }
}

/// What became of such a request.
public enum ControlOutcome: Sendable, Equatable {
  /// It will be done; the text says what.
  case accepted(String)
  /// There is no such process, but these.
  case unknownProcess([String])
  /// It will not be done; the text says why.
  case refused(String)
}
