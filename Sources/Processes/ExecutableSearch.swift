import Glibc

/// Where a command may be found: the paths that execve is tried on, in order, as execvp would.
public enum ExecutableSearch {
  /// What execvp falls back to when PATH is unset; the usual one of a container image.
  public static let standardPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

  /// The candidates for `command`, each allocated with malloc and to be freed by the caller.
  ///
  /// A command with a slash is its own only candidate. An empty element of `path` is the working directory.
  public static func candidates(
    for command: UnsafePointer<CChar>, path: UnsafePointer<CChar>?
  ) -> [UnsafeMutablePointer<CChar>?] {
    if strchr(command, CInt(UInt8(ascii: "/"))) != nil || command[0] == 0 { return [strdup(command)] }
    guard let path else {
      return standardPath.withCString { candidates(for: command, path: $0) }
    }
    let commandLength = strlen(command)
    var result: [UnsafeMutablePointer<CChar>?] = []
    var element = path
    while true {
      let length = strcspn(element, ":")
      let total = length + commandLength + 2
      let allocated = malloc(total)
      guard let buffer = allocated?.assumingMemoryBound(to: CChar.self) else { return result }
      memcpy(buffer, element, length)
      var end = length
      if length > 0 {
        buffer[length] = CChar(UInt8(ascii: "/"))
        end += 1
      }
      memcpy(buffer + end, command, commandLength + 1)
      result.append(buffer)
      if element[length] == 0 { return result }
      element += length + 1
    }
  }

  /// Whether the image's command exists at one of its candidates; true also where that cannot be told: a relative
  /// path, which counts from the child's own directory.
  public static func mayFind(_ image: ProcessImage) -> Bool {
    guard let command = image.arguments.first, !command.bytes.isEmpty else { return true }
    let path = image.environment.value(of: "PATH")
    return CStringVector.with([command, path ?? ""]) { strings in
      guard let name = strings[0] else { return true }
      let found = candidates(for: name, path: path == nil ? nil : strings[1].map { UnsafePointer($0) })
      defer { for candidate in found { free(candidate) } }
      return found.contains { candidate in
        guard let candidate else { return false }
        return candidate[0] != CChar(UInt8(ascii: "/")) || access(candidate, F_OK) == 0
      }
    }
  }
}
