/// How to find out whether a process answers, how often, and how many answers make a verdict.
public struct CheckDefinition: Equatable, Sendable {
  /// What one run of the check does.
  public enum Method: Equatable, Sendable {
    /// A GET request, passed by a status from 200 to 399.
    case http(HTTPCheckTarget)
    /// A TCP connection, passed when it is made.
    case tcp(CheckEndpoint)
    /// A command, passed by exit code 0.
    case exec(Command)
  }

  /// A command as the settings have it.
  public enum Command: Equatable, Sendable {
    /// A program and its arguments.
    case list([String])
    /// A line for `/bin/sh -c`.
    case shell(String)
  }

  /// The shortest interval and timeout there are: below it a check would be a load of its own.
  public static let shortestInterval: Duration = .milliseconds(10)

  /// What one run of the check does.
  public let method: Method
  /// The pause between the result of one run and the start of the next.
  public let interval: Duration
  /// How long one run may take.
  public let timeout: Duration
  /// How many failures in a row make a service unhealthy.
  public let failures: Int
  /// How many passes in a row make it healthy.
  public let successes: Int
  /// How long after its start a service may fail its check without being called unhealthy.
  public let startPeriod: Duration

  /// A definition; what is out of range is brought into it (durations at least `shortestInterval`, the start
  /// period at least zero, counts at least one), since the settings have complained about it before.
  public init(
    method: Method, interval: Duration = .seconds(5), timeout: Duration = .seconds(2), failures: Int = 3,
    successes: Int = 1, startPeriod: Duration = .seconds(60)
  ) {
    self.method = method
    self.interval = max(interval, CheckDefinition.shortestInterval)
    self.timeout = max(timeout, CheckDefinition.shortestInterval)
    self.failures = max(failures, 1)
    self.successes = max(successes, 1)
    self.startPeriod = max(startPeriod, .zero)
  }
}

/// How one run of a check ended.
public enum CheckOutcome: Hashable, Sendable {
  /// The service answered as it should.
  case passed
  /// It did not, with the reason in plain words: `connection refused at 127.0.0.1:8000`.
  case failed(String)
  /// The check itself could not be run (no descriptor left, we were stopped): this says nothing about the service.
  case couldNotRun(String)
}
