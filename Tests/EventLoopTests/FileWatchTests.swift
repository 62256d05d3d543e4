import Glibc
import Testing

@testable import EventLoop

struct FileWatchTests {
  private func append(_ path: String) {
    let descriptor = open(path, O_WRONLY | O_APPEND)
    _ = write(descriptor, "x\n", 2)
    close(descriptor)
  }

  @Test(.timeLimit(.minutes(1)))
  func `it tells of each write that is complete, and of none after it is let go of`() throws {
    var template = Array("/tmp/watch-XXXXXX".utf8CString)
    let made = mkstemp(&template)
    close(made)
    let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { unlink(path) }
    let loop = try EventLoop()
    var count = 0
    var watch: FileWatch? = try FileWatch(loop: loop, path: path) { count += 1 }
    append(path)
    loop.turn(waiting: true)
    #expect(count == 1)
    append(path)
    append(path)
    loop.turn(waiting: true)
    #expect(count == 2)
    loop.turn(waiting: false)
    #expect(count == 2)
    _ = watch
    watch = nil
    append(path)
    loop.turn(waiting: false)
    #expect(count == 2)
  }

  @Test func `a file that is not there cannot be watched`() throws {
    let loop = try EventLoop()
    let error = #expect(throws: SystemError.self) { try FileWatch(loop: loop, path: "/nowhere/file") {} }
    #expect(error?.code == ENOENT)
  }
}
