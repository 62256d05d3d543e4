import Glibc

/// What /proc says about one process.
struct ProcessEntry {
  let pid: pid_t
  let name: String
  /// `R`, `S`, `T` (stopped), `Z` (zombie), …
  let state: Character
  let parent: pid_t
  let group: pid_t
  let session: pid_t
  let threads: Int

  init?(pid: pid_t) {
    guard let text = readText("/proc/\(pid)/stat"), let open = text.firstIndex(of: "("),
      let close = text.lastIndex(of: ")")
    else { return nil }
    let fields = text[text.index(after: close)...].split(separator: " ")
    guard fields.count > 17, let parent = pid_t(fields[1]), let group = pid_t(fields[2]),
      let session = pid_t(fields[3]), let threads = Int(fields[17])
    else { return nil }
    self.pid = pid
    name = String(text[text.index(after: open)..<close])
    state = fields[0].first ?? "?"
    self.parent = parent
    self.group = group
    self.session = session
    self.threads = threads
  }

  /// Every process there is.
  static func all() -> [ProcessEntry] {
    guard let directory = opendir("/proc") else { return [] }
    defer { closedir(directory) }
    var entries: [ProcessEntry] = []
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if let pid = pid_t(name), let process = ProcessEntry(pid: pid) { entries.append(process) }
    }
    return entries
  }

  static func children(of pid: pid_t) -> [ProcessEntry] {
    all().filter { $0.parent == pid }
  }
}

/// The whole of a small file, or nil.
func readText(_ path: String) -> String? {
  let file = open(path, O_RDONLY | O_CLOEXEC)
  guard file >= 0 else { return nil }
  defer { close(file) }
  var bytes: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 16384)
  while true {
    let count = read(file, &buffer, buffer.count)
    guard count >= 0 else { return nil }
    guard count > 0 else { return String(decoding: bytes, as: UTF8.self) }
    bytes += buffer[..<count]
  }
}

/// Where a symbolic link points, or nil.
func readLink(_ path: String) -> String? {
  var buffer = [UInt8](repeating: 0, count: 4096)
  let count = buffer.withUnsafeMutableBytes { bytes in
    guard let start = bytes.bindMemory(to: CChar.self).baseAddress else { return -1 }
    return readlink(path, start, bytes.count)
  }
  return count < 0 ? nil : String(decoding: buffer[..<count], as: UTF8.self)
}
