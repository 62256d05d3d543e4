import Foundation
import Glibc

/// What went wrong with the test's own machinery.
public struct HarnessError: Error, CustomStringConvertible {
  /// What happened.
  public var description: String

  /// An error that says this.
  public init(_ description: String) {
    self.description = description
  }
}

/// A script of this folder: called with a folder of its own and a free port, it obeys lines, answers each with a line, and
/// removes everything when it hears no more, with the end of this process at the latest.
final class ServerScript: @unchecked Sendable {
  let port: UInt16
  let folder: String
  private let name: String
  private let process = Process()
  private let input = Pipe()
  private let output = Pipe()
  private let lock = NSLock()
  private var isEnded = false

  /// Starts `name`, and returns with its first answer.
  init(_ name: String) throws {
    self.name = name
    var template = Array("/tmp/supervisor-server-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw HarnessError("mkdtemp: \(errno)") }
    folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    // The server may run as another user.
    chmod(folder, 0o755)
    port = try freePort()
    let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(name)
    process.executableURL = URL(fileURLWithPath: "/bin/bash")
    process.arguments = [script.path, folder, "\(port)"]
    process.standardInput = input
    process.standardOutput = output
    try process.run()
    try readAnswer()
  }

  deinit { end() }

  /// Stops everything at once, and removes the folder.
  func end() {
    lock.lock()
    defer { lock.unlock() }
    guard !isEnded else { return }
    isEnded = true
    try? input.fileHandleForWriting.close()
    process.waitUntilExit()
  }

  /// Returns when it is done.
  func order(_ command: String) throws {
    lock.lock()
    defer { lock.unlock() }
    try input.fileHandleForWriting.write(contentsOf: Data((command + "\n").utf8))
    try readAnswer()
  }

  private func readAnswer() throws {
    var line: [UInt8] = []
    while true {
      guard let byte = output.fileHandleForReading.readData(ofLength: 1).first else {
        throw HarnessError("\(name) ended: \(String(decoding: line, as: UTF8.self))")
      }
      if byte == UInt8(ascii: "\n") { break }
      line.append(byte)
    }
    let text = String(decoding: line, as: UTF8.self)
    guard text == "ok" else { throw HarnessError("\(name): \(text)") }
  }
}
