import Journal

/// `exit.json` in the private directory: how the last supervisor there ended, for tools and for people at night.
public enum ExitRecord {
  /// The file's name.
  public static let fileName = "exit.json"

  /// The file's text: an object with `code`, `reason` (a stable word), `text` and `at` (UTC).
  public static func text(code: Int32, reason: String, text: String, at time: WallTime) -> String {
    JSON.object([
      ("code", .integer(Int64(code))), ("reason", .string(reason)), ("text", .string(text)),
      ("at", .string(time.iso8601)),
    ]).text + "\n"
  }
}
