import Foundation
import Glibc

/// A real Redis server on a free port of this machine, which ends with this process at the latest.
public final class RedisServer: Sendable {
  /// The one that tests share which do it no harm, each with keys of its own.
  public static let shared: Result<RedisServer, HarnessError> = {
    do {
      let server = try RedisServer()
      atexit { if case .success(let server) = RedisServer.shared { server.end() } }
      return .success(server)
    } catch {
      return .failure(error as? HarnessError ?? HarnessError("\(error)"))
    }
  }()

  private let script: ServerScript
  private let options: [String]

  /// Starts one.
  /// - Parameter options: of redis-server's, without spaces in them; `FOLDER` in them is its folder.
  public init(_ options: [String] = []) throws {
    let script = try ServerScript("redis.sh")
    self.script = script
    self.options = options.map { $0.replacingOccurrences(of: "FOLDER", with: script.folder) }
    try start()
  }

  /// Where it listens, on 127.0.0.1.
  public var port: UInt16 { script.port }
  /// Its files, and the certificates (see redis.sh).
  public var folder: String { script.folder }

  /// Starts it (again), with other options where they are given.
  public func start(_ options: [String]? = nil) throws {
    try script.order("start " + (options ?? self.options).joined(separator: " "))
  }

  /// Ends it in order.
  public func stop() throws { try script.order("stop") }
  /// Ends it without a word.
  public func kill() throws { try script.order("kill") }
  /// It answers nothing until `thaw`.
  public func freeze() throws { try script.order("freeze") }
  /// It goes on.
  public func thaw() throws { try script.order("thaw") }

  /// Ends it for good, and removes its files.
  public func end() { script.end() }

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
      guard Date() < end else { throw HarnessError("not within \(seconds) s: \(words) is \(client)") }
      usleep(5000)
    }
  }
}
