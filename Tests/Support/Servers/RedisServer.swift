import Foundation
import Glibc

/// Why a server for tests is not there, or did not do what it was told.
public struct ServerTrouble: Error, CustomStringConvertible {
  /// What happened.
  public var description: String

  /// A trouble.
  public init(_ description: String) {
    self.description = description
  }
}

/// A real Redis server on a free port of this machine, which ends with this process at the latest.
public final class RedisServer: @unchecked Sendable {
  /// The one that tests share which do it no harm, each with keys of its own.
  public static let shared: Result<RedisServer, ServerTrouble> = {
    do {
      let server = try RedisServer()
      atexit { if case .success(let server) = RedisServer.shared { server.end() } }
      return .success(server)
    } catch {
      return .failure(error as? ServerTrouble ?? ServerTrouble("\(error)"))
    }
  }()

  /// Where it listens.
  public let port: UInt16
  /// Its files, and the certificates (see redis.sh).
  public let folder: String
  private let options: [String]
  private let process = Process()
  private let input = Pipe()
  private let output = Pipe()
  private let lock = NSLock()
  private var isEnded = false

  /// Starts one.
  /// - Parameter options: of redis-server's, without spaces in them; `FOLDER` in them is its folder.
  public init(_ options: [String] = []) throws {
    var template = Array("/tmp/supervisor-redis-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw ServerTrouble("mkdtemp: \(errno)") }
    let folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    self.folder = folder
    port = try Self.freePort()
    self.options = options.map { $0.replacingOccurrences(of: "FOLDER", with: folder) }
    let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
      "redis.sh")
    process.executableURL = URL(fileURLWithPath: "/bin/bash")
    process.arguments = [script.path, folder, "\(port)"]
    process.standardInput = input
    process.standardOutput = output
    try process.run()
    try readAnswer()
    try start()
  }

  deinit { end() }

  /// Starts it (again), with other options where they are given.
  public func start(_ options: [String]? = nil) throws {
    try order("start " + (options ?? self.options).joined(separator: " "))
  }

  /// Ends it in order.
  public func stop() throws { try order("stop") }
  /// Ends it without a word.
  public func kill() throws { try order("kill") }
  /// It answers nothing until `thaw`.
  public func freeze() throws { try order("freeze") }
  /// It goes on.
  public func thaw() throws { try order("thaw") }

  /// Ends it for good, and removes its files.
  public func end() {
    lock.lock()
    defer { lock.unlock() }
    guard !isEnded else { return }
    isEnded = true
    try? input.fileHandleForWriting.close()
    process.waitUntilExit()
  }

  /// What redis-cli prints for a command, without the last line's end.
  @discardableResult
  public func ask(_ words: String...) throws -> String { try ask(words) }

  private func ask(_ words: [String]) throws -> String {
    let client = Process()
    let answer = Pipe()
    client.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    client.arguments = ["redis-cli", "-p", "\(port)", "--no-auth-warning"] + words
    client.standardInput = FileHandle.nullDevice
    client.standardOutput = answer
    client.standardError = answer
    try client.run()
    let data = answer.fileHandleForReading.readDataToEndOfFile()
    client.waitUntilExit()
    return String(decoding: data, as: UTF8.self).trimmingCharacters(in: .newlines)
  }

  /// Waits until a command is answered like this.
  public func eventually(_ expected: String, within seconds: Double = 30, _ words: String...) throws {
    let end = Date().addingTimeInterval(seconds)
    while true {
      let client = try ask(words)
      if client == expected { return }
      guard Date() < end else { throw ServerTrouble("not within \(seconds) s: \(words) is \(client)") }
      usleep(5000)
    }
  }

  private func order(_ command: String) throws {
    lock.lock()
    defer { lock.unlock() }
    try input.fileHandleForWriting.write(contentsOf: Data((command + "\n").utf8))
    try readAnswer()
  }

  private func readAnswer() throws {
    var line: [UInt8] = []
    while true {
      guard let byte = output.fileHandleForReading.readData(ofLength: 1).first else {
        throw ServerTrouble("redis.sh ended: \(String(decoding: line, as: UTF8.self))")
      }
      if byte == UInt8(ascii: "\n") { break }
      line.append(byte)
    }
    let text = String(decoding: line, as: UTF8.self)
    guard text == "ok" else { throw ServerTrouble("redis.sh: \(text)") }
  }

  /// A port of 127.0.0.1 that nobody listens on now.
  public static func freePort() throws -> UInt16 {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let code = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, size) == 0 ? getsockname(descriptor, $0, &size) : -1
      }
    }
    guard code == 0 else { throw ServerTrouble("no free port: \(errno)") }
    return UInt16(bigEndian: address.sin_port)
  }
}
