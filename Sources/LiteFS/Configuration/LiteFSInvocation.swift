import Settings

/// How LiteFS is started.
public enum LiteFSInvocation {
  /// What follows the program's name. The file has literal values only, since LiteFS expands variables without any way
  /// to write a dollar.
  ///
  /// - Parameter file: the path of `litefs.yml`.
  public static func arguments(file: String) -> [String] { ["mount", "-config", file, "-no-expand-env"] }

  /// Variables that LiteFS must not inherit: they switch on the client of a service that was shut down in 2024.
  public static let withheld = ["LITEFS_CLOUD_TOKEN", "LITEFS_CLOUD_ENDPOINT"]
}
