import Glibc

/// Finds and reads the settings file.
enum SettingsFile {
  /// Looked for in this order when nobody names a file.
  static let searchPaths = ["./supervisor.yml", "/etc/supervisor.yml"]

  /// Where a file's name comes from.
  struct Found {
    var path: String
    var bytes: [UInt8]
  }

  /// Reads the named file, or else the first of the others that exists; nil when there is none.
  static func find(
    named path: String?, variable: String?, searchPaths: [String]
  ) throws(Diagnostic) -> Found? {
    if let path, !path.isEmpty { return try read(path, origin: .flag("--settings")) }
    if let variable, !variable.isEmpty {
      return try read(variable, origin: .environment("SUPERVISOR_SETTINGS"))
    }
    for path in searchPaths {
      if let found = try read(path, origin: nil) { return found }
    }
    return nil
  }

  /// Reads a file.
  ///
  /// - Parameter origin: who named it; nil: it was only looked for, and may be missing.
  private static func read(_ path: String, origin: Origin?) throws(Diagnostic) -> Found? {
    switch contents(of: path) {
    case .success(let bytes): return Found(path: path, bytes: bytes)
    case .failure(let failure):
      if origin == nil, failure.isMissing { return nil }
      throw Diagnostic(
        .error, at: origin, "the settings file \(printable(path, limit: 300)) \(failure.message)",
        suggestion: failure.suggestion)
    }
  }

  /// The content of a file that settings or the command line name.
  static func contents(of path: String) -> Result<[UInt8], FileAccess.Failure> {
    func failure(
      _ message: String, _ suggestion: String? = nil, isMissing: Bool = false
    ) -> Result<[UInt8], FileAccess.Failure> {
      .failure(FileAccess.Failure(message: message, suggestion: suggestion, isMissing: isMissing))
    }
    // Swift passes a C string: a NUL would open another file than the one named.
    guard !path.utf8.contains(0) else { return failure("has a NUL in its name") }
    // Non-blocking, because opening a pipe without a writer would wait for ever.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)
    guard descriptor >= 0 else {
      let code = errno
      return failure(
        "cannot be opened: \(reason(code))",
        code == ENOENT
          ? "check the path; it counts from the working directory unless it starts with '/'" : nil,
        isMissing: code == ENOENT || code == ENOTDIR)
    }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { return failure("cannot be read: \(reason(errno))") }
    switch status.st_mode & S_IFMT {
    case S_IFREG: break
    case S_IFIFO:
      // Process substitution; its writer may be slower than we are.
      _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) & ~O_NONBLOCK)
    case S_IFCHR where isatty(descriptor) == 0: break
    case S_IFDIR: return failure("is a directory", "name the file in it")
    default: return failure("is not a regular file")
    }
    let bytes: [UInt8]
    do throws(ReadFailure) {
      bytes = try contents(of: descriptor)
    } catch {
      return failure("cannot be read: \(reason(error.code))")
    }
    // What a failed program writes into a pipe must not pass for "everything is default".
    if bytes.isEmpty, status.st_mode & S_IFMT == S_IFIFO {
      return failure("is a pipe that nobody wrote to")
    }
    return .success(bytes)
  }

  private struct ReadFailure: Error { var code: Int32 }

  /// At most one byte more than the reader accepts, so that it can tell.
  private static func contents(of descriptor: Int32) throws(ReadFailure) -> [UInt8] {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 16 << 10)
    while bytes.count <= YAMLReader.maximumSize {
      let count = chunk.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress, $0.count) }
      if count < 0 {
        if errno == EINTR { continue }
        throw ReadFailure(code: errno)
      }
      if count == 0 { break }
      bytes += chunk[..<count]
    }
    return bytes
  }

  private static func reason(_ code: Int32) -> String {
    strerror(code).map { String(cString: $0) } ?? "error \(code)"
  }
}

/// A file that the command line names.
public enum NamedFile {
  /// Its content, up to one byte more than the YAML reader accepts.
  /// - Throws: what is wrong with it.
  public static func bytes(of path: String) throws(Diagnostic) -> [UInt8] {
    switch SettingsFile.contents(of: path) {
    case .success(let bytes): return bytes
    case .failure(let failure):
      throw Diagnostic(
        .error, at: nil, key: printable(path, limit: 300), failure.message, suggestion: failure.suggestion)
    }
  }
}
