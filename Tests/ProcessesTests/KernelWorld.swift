import CLinux
import EventLoop
import Glibc
import Processes
import Testing

/// A directory that goes with its owner.
final class TemporaryDirectory {
  let path: String

  init() throws {
    var template = Array("/tmp/supervisor-processes-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil, "mkdtemp: errno \(errno)")
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit {
    remove(path)
  }

  private func remove(_ path: String) {
    if let directory = opendir(path) {
      while let entry = readdir(directory) {
        let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
          String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        if name == "." || name == ".." { continue }
        let inner = path + "/" + name
        if unlink(inner) != 0 { remove(inner) }
      }
      closedir(directory)
    }
    rmdir(path)
  }

  /// The names in it.
  var names: [String] {
    guard let directory = opendir(path) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      names.append(
        withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) })
    }
    return names.filter { $0 != "." && $0 != ".." }.sorted()
  }

  /// Makes a file in it and returns its path.
  func file(_ name: String, _ text: String, mode: mode_t = 0o644) throws -> String {
    let file = path + "/" + name
    let descriptor = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
    try #require(descriptor >= 0, "open \(file): errno \(errno)")
    let bytes = Array(text.utf8)
    let written = write(descriptor, bytes, bytes.count)
    close(descriptor)
    try #require(written == bytes.count)
    try #require(chmod(file, mode) == 0)
    return file
  }
}

/// The bytes of a file.
func bytes(of path: String) throws -> [UInt8] {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  try #require(descriptor >= 0, "open \(path): errno \(errno)")
  defer { close(descriptor) }
  var result: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 65536)
  while true {
    let size = read(descriptor, &buffer, buffer.count)
    if size <= 0 { return result }
    result += buffer.prefix(size)
  }
}

/// The text of a file.
func contents(of path: String) throws -> String {
  String(decoding: try bytes(of: path), as: UTF8.self)
}

/// A loop with a process table, which a short timer stands in for SIGCHLD of: the mask of a test process is not ours to
/// change.
final class KernelWorld {
  let loop: EventLoop
  let table: ProcessTable

  init() throws {
    loop = try EventLoop()
    table = try ProcessTable(loop: loop)
    tick()
  }

  private func tick() {
    loop.schedule(after: .milliseconds(2)) { [weak self] in
      self?.table.reap()
      self?.tick()
    }
  }

  /// Turns the loop until the condition holds; an issue when it does not within half a minute.
  func turn(
    _ what: Comment, sourceLocation: SourceLocation = #_sourceLocation, until condition: () -> Bool
  ) throws {
    let end = MonotonicInstant.now + .seconds(30)
    while !condition() {
      try #require(MonotonicInstant.now < end, "never came: \(what)", sourceLocation: sourceLocation)
      loop.turn(waiting: true)
    }
  }

  /// How a process started and ended, as it was told.
  final class Life {
    var pid: CInt = -1
    var isTold = false
    var failure: SpawnFailure?
    var ends: [ExitStatus] = []
  }

  /// Starts a process and follows its life.
  func spawn(_ image: ProcessImage) throws -> Life {
    let life = Life()
    life.pid = try table.spawn(
      image,
      started: { failure in
        #expect(!life.isTold, "told twice")
        life.isTold = true
        life.failure = failure
      },
      ended: { status in
        #expect(life.isTold, "an end before the start")
        life.ends.append(status)
      })
    return life
  }

  /// Starts a process and waits for its end.
  func run(_ image: ProcessImage, sourceLocation: SourceLocation = #_sourceLocation) throws -> Life {
    let life = try spawn(image)
    try turn("the end of \(image.arguments)", sourceLocation: sourceLocation) { !table.contains(life.pid) }
    return life
  }

  /// A shell line.
  static func shell(_ line: String) -> ProcessImage {
    ProcessImage(
      arguments: ["/bin/sh", "-c", RawString(line)], environment: ProcessEnvironment(["PATH=/bin:/usr/bin"]))
  }
}

/// The state letter of a process; nil when it is gone.
func state(of pid: CInt) -> Character? {
  var raw = clinux_process()
  guard clinux_process_read(pid, &raw) == 0 else { return nil }
  return Character(UnicodeScalar(UInt8(bitPattern: raw.state)))
}
