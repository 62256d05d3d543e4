/// In the place of the driver's: the simulated agent answers what concerns Redis before the coordinator hears of it.
public struct RedisFailure: Error {
  /// One sentence.
  public var text: String
}
