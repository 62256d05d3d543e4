/// The release that this program belongs to; the same for supervisor and its agent.
public enum Release {
  /// Version of the programs.
  public static let version = "0.1.0"
}
