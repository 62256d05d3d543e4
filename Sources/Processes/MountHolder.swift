/// A process that keeps a mount busy, and by what.
public struct MountHolder: Hashable, Sendable {
  /// What it holds.
  public enum Hold: String, Sendable {
    /// Its working directory.
    case workingDirectory = "cwd"
    /// Its root directory.
    case root
    /// The program that it runs.
    case program
    /// An open file.
    case file
    /// A mapped file, whose descriptor may be closed already.
    case map
  }

  /// The process.
  public var pid: CInt
  /// What it holds.
  public var hold: Hold
  /// The path it holds, as /proc shows it.
  public var target: String

  /// A holder.
  public init(pid: CInt, hold: Hold, target: String) {
    self.pid = pid
    self.hold = hold
    self.target = target
  }

  /// Reads the file helper's lines: `PID KIND TARGET`.
  static func list(from bytes: [UInt8]) -> [MountHolder] {
    String(decoding: bytes, as: UTF8.self).split(separator: "\n").compactMap { line in
      let fields = line.split(separator: " ", maxSplits: 2)
      guard fields.count == 3, let pid = CInt(fields[0]), let hold = Hold(rawValue: String(fields[1])) else {
        return nil
      }
      return MountHolder(pid: pid, hold: hold, target: String(fields[2]))
    }
  }
}
