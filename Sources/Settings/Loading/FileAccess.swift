import Glibc

/// How the files that settings name (fragments, secrets) are read. Reading may block where the file system does,
/// so settings are loaded before the loop runs.
public struct FileAccess: Sendable {
  /// Why a file cannot be read, as the end of a sentence: "is a directory".
  struct Failure: Error, Equatable {
    var message: String
    var suggestion: String?
    var isMissing = false
  }

  /// The content of a file.
  var contents: @Sendable (String) -> Result<[UInt8], Failure>
  /// The names in a directory in any order, without `.` and `..`; nil when it cannot be read.
  var names: @Sendable (String) -> [String]?
  /// What a symbolic link holds; nil for everything else.
  var target: @Sendable (String) -> String? = { _ in nil }

  /// The file system.
  public static let system = FileAccess(
    contents: { SettingsFile.contents(of: $0) }, names: listed, target: linkTarget)

  /// No files at all: every one is missing.
  public static let none = FileAccess(
    contents: { _ in .failure(Failure(message: "cannot be opened: there are no files here", isMissing: true))
    },
    names: { _ in nil })

  /// More names in one directory are not looked at.
  private static let maximumNames = 10_000

  private static func listed(_ path: String) -> [String]? {
    guard !path.utf8.contains(0), let directory = opendir(path) else { return nil }
    defer { closedir(directory) }
    var names: [String] = []
    while names.count < maximumNames, let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        pointer.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: pointer.pointee)) {
          String(cString: $0)
        }
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
  }

  // MARK: Links

  private static func linkTarget(_ path: String) -> String? {
    guard !path.utf8.contains(0) else { return nil }
    var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
    let count = readlink(path, &buffer, buffer.count)
    guard count > 0 else { return nil }
    return String(decoding: buffer.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// An absolute path with its links followed, as far as it is there. Nothing but links is asked for: unlike
  /// realpath(3) this does not wait for a file system that is mounted at the path and does not answer.
  func resolved(_ path: String) -> String {
    var rest = path.split(separator: "/").map { String($0) }[...]
    var names: [String] = []
    var links = 0
    while let name = rest.popFirst() {
      if name == "." { continue }
      if name == ".." {
        _ = names.popLast()
        continue
      }
      let here = "/" + (names + [name]).joined(separator: "/")
      // The kernel follows no more than 40 (path_resolution(7)).
      guard links < 40, let target = target(here) else {
        names.append(name)
        continue
      }
      links += 1
      if target.hasPrefix("/") { names = [] }
      rest = target.split(separator: "/").map { String($0) }[...] + rest
    }
    return "/" + names.joined(separator: "/")
  }

  // MARK: Globs

  /// Whether a text is a pattern and not just a path.
  static func isPattern(_ text: some StringProtocol) -> Bool { text.contains { "*?[".contains($0) } }

  /// The paths that a pattern matches, sorted by bytes. `*`, `?` and `[…]` stand for characters of one name; a
  /// name that starts with a dot is only matched by a dot (glob(7)).
  ///
  /// Not the C library's glob, which would link its user database into a static program for the sake of `~`.
  func matches(_ pattern: String) -> [String] {
    var found = [pattern.hasPrefix("/") ? "/" : ""]
    let parts = pattern.split(separator: "/").map { String($0) }
    for (index, part) in parts.enumerated() {
      found = found.flatMap { base -> [String] in
        guard Self.isPattern(part) else { return [base + part] }
        let fitting = (names(base.isEmpty ? "." : base) ?? []).filter { fnmatch(part, $0, FNM_PERIOD) == 0 }
        return fitting.map { base + $0 }
      }
      guard found.count <= Self.maximumNames else { return [] }
      if index + 1 < parts.count { found = found.map { $0 + "/" } }
    }
    return found.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }
}
