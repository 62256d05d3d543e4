/// The exit codes of this program that are not the app's own (after sysexits.h where it has a number).
enum ExitCode {
  /// The command line is wrong.
  static let usage: Int32 = 64
  /// A dependency never came, or refused for good.
  static let unavailable: Int32 = 69
  /// Something in here went wrong.
  static let software: Int32 = 70
  /// A wait ran out of time.
  static let temporaryFailure: Int32 = 75
  /// A phase failed.
  static let phaseFailed: Int32 = 76
  /// Not allowed.
  static let permission: Int32 = 77
  /// Settings or preflight.
  static let configuration: Int32 = 78
  /// Gave up restarting.
  static let gaveUp: Int32 = 79
}
