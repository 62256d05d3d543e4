import Checks
import EventLoop

/// A running probe: keeps its sockets and timers until it has reported.
public protocol ProbeHandle: AnyObject {
  /// Ends the probe without a report; nothing happens when it has reported already.
  func cancel()
}

/// Checks whether somebody accepts TCP connections.
public enum TCPProbe {
  /// Connects once. Passed when a connection is made; `localhost` passes when either of its addresses accepts.
  ///
  /// `completion` is called exactly once, at `timeout` at the latest (or as soon after it as the loop gets there),
  /// never before this call returns and never after `cancel`. The probe lives by itself until then.
  @discardableResult
  public static func start(
    loop: EventLoop, address: CheckEndpoint, timeout: Duration, completion: @escaping (CheckOutcome) -> Void
  ) -> any ProbeHandle {
    let probe = NetworkProbe(
      loop: loop, endpoint: address, request: nil, timeout: timeout, completion: completion)
    probe.start()
    return probe
  }
}

/// Checks whether an HTTP server answers well.
public enum HTTPProbe {
  /// Sends one GET request. Passed by a status from 200 to 399. Of the two addresses of `localhost` the first that
  /// gives an HTTP answer decides. At most 64 KiB of the answer are read.
  ///
  /// `completion` is called exactly once, at `timeout` at the latest (or as soon after it as the loop gets there),
  /// never before this call returns and never after `cancel`. The probe lives by itself until then.
  @discardableResult
  public static func start(
    loop: EventLoop, target: HTTPCheckTarget, timeout: Duration, completion: @escaping (CheckOutcome) -> Void
  ) -> any ProbeHandle {
    let probe = NetworkProbe(
      loop: loop, endpoint: target.endpoint, request: request(for: target), timeout: timeout,
      completion: completion)
    probe.start()
    return probe
  }

  static func request(for target: HTTPCheckTarget) -> [UInt8] {
    let lines = [
      "GET \(target.path) HTTP/1.1", "Host: \(target.hostHeader)", "User-Agent: supervisor-check",
      "Accept: */*",
      "Connection: close", "", "",
    ]
    return Array(lines.joined(separator: "\r\n").utf8)
  }
}
