import Glibc
import Testing

/// A directory of its own, removed at the end with everything that was written.
final class TemporaryFiles {
  let path: String
  private var files: [String] = []
  private var directories: [String] = []

  init() throws {
    var template = Array("/tmp/settings-test-XXXXXX".utf8CString)
    path = try #require(mkdtemp(&template).map { String(cString: $0) })
  }

  deinit {
    for file in files { unlink(file) }
    for directory in directories.reversed() { rmdir(directory) }
    rmdir(path)
  }

  /// Writes a file and returns its path. `name` may have one directory in it.
  @discardableResult
  func write(_ name: String, _ text: String) throws -> String {
    if let slash = name.firstIndex(of: "/") {
      let directory = "\(path)/\(name[..<slash])"
      if mkdir(directory, 0o700) == 0 { directories.append(directory) }
    }
    let file = "\(path)/\(name)"
    let descriptor = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    try #require(descriptor >= 0)
    defer { close(descriptor) }
    files.append(file)
    let bytes = Array(text.utf8)
    try #require(bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) } == bytes.count)
    return file
  }
}
