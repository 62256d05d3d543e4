import Foundation
import Testing

@testable import Frameworks

/// A Python with Django, made by Tests/Python/environment.sh.
struct PythonEnvironment: Sendable, CustomTestStringConvertible {
  let name: String
  let python: String
  let pythonVersion: String
  let djangoVersion: String

  var testDescription: String { "\(name): Python \(pythonVersion), Django \(djangoVersion)" }

  static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().path

  /// All there are; none when the script did not run.
  static let all: [PythonEnvironment] = {
    let list = try? String(contentsOfFile: root + "/.build-tests/python/environments", encoding: .utf8)
    var versions: Set<[String]> = []
    return (list ?? "").split(separator: "\n").compactMap { line in
      let fields = line.split(separator: " ").map(String.init)
      // The newest Django of an interpreter may be 5.2 again.
      guard fields.count == 4, versions.insert(Array(fields[2...])).inserted else { return nil }
      return PythonEnvironment(
        name: fields[0], python: fields[1], pythonVersion: fields[2], djangoVersion: fields[3])
    }
  }()

  /// The one for tests where the version makes no difference: Django 5.2.
  static let first = all.first { $0.name == "django-5.2" }

  static let areMissing: Comment = "no Python with Django: Tests/Python/environment.sh makes them"
}

/// How a program ended, and what it left.
struct Outcome {
  var status: Int32
  var isSignal: Bool
  var result: [UInt8]
  var output: String
  var errors: String

  var resultText: String { String(decoding: result, as: UTF8.self) }
}

extension PythonEnvironment {
  /// Runs one of our programs in a directory, as a step would: no terminal, a bounded time.
  func run(
    _ program: DjangoProgram, in directory: String, environment: [String: String] = [:],
    byDescriptor: Bool = false
  ) throws -> Outcome {
    let scratch = try TemporaryDirectory()
    let files = FileManager.default
    for name in ["in", "out", "err"] {
      _ = files.createFile(
        atPath: scratch.path + "/" + name, contents: Data(name == "in" ? program.text.utf8 : "".utf8))
    }
    var variables = [
      "PATH": "/usr/bin:/bin", "HOME": scratch.path, "PYTHONDONTWRITEBYTECODE": "1",
    ]
    let process = Process()
    process.currentDirectoryURL = URL(fileURLWithPath: directory)
    let result = scratch.path + "/result"
    if byDescriptor {
      variables[DjangoProgram.resultDescriptorVariable] = "7"
      process.executableURL = URL(fileURLWithPath: "/bin/sh")
      process.arguments =
        ["-c", "exec 7>\"$0\"; exec timeout -k 5 60 \"$@\"", result, python] + program.arguments
    } else {
      variables[DjangoProgram.resultFileVariable] = result
      process.executableURL = URL(fileURLWithPath: "/usr/bin/timeout")
      process.arguments = ["-k", "5", "60", python] + program.arguments
    }
    process.environment = variables.merging(environment) { $1 }
    process.standardInput = FileHandle(forReadingAtPath: scratch.path + "/in")
    process.standardOutput = FileHandle(forWritingAtPath: scratch.path + "/out")
    process.standardError = FileHandle(forWritingAtPath: scratch.path + "/err")
    try process.run()
    process.waitUntilExit()
    func text(_ name: String) -> String {
      String(decoding: files.contents(atPath: scratch.path + "/" + name) ?? Data(), as: UTF8.self)
    }
    return Outcome(
      status: process.terminationStatus, isSignal: process.terminationReason == .uncaughtSignal,
      result: Array(files.contents(atPath: result) ?? Data()), output: text("out"), errors: text("err"))
  }

  /// The report of a project.
  func report(
    of directory: String, settingsModule: String? = nil, environment: [String: String] = [:]
  ) throws -> DjangoReport {
    let outcome = try run(
      .settings(settingsModule: settingsModule), in: directory, environment: environment)
    do {
      return try DjangoReport.decode(outcome.result, ending: "status \(outcome.status)")
    } catch {
      throw error
    }
  }

  /// Calls hooks in the probe project; `events` are the names and words of its EVENTS file.
  func hooks(
    _ call: DjangoProgram.HookCall, environment: [String: String] = [:], byDescriptor: Bool = false
  ) throws -> (outcome: Outcome, results: HookResults, events: [String]) {
    let scratch = try TemporaryDirectory()
    var variables = environment
    variables["EVENTS"] = scratch.path + "/events"
    variables["PROBE_DATABASE"] = scratch.path + "/db.sqlite3"
    let outcome = try run(
      .hooks(call, settingsModule: "probe.settings"), in: Self.root + "/Tests/Fixtures/probe",
      environment: variables, byDescriptor: byDescriptor)
    let results = try #require(HookResults.decode(outcome.result), "\(outcome.resultText)")
    let events = try? String(contentsOfFile: scratch.path + "/events", encoding: .utf8)
    return (
      outcome, results,
      (events ?? "").split(separator: "\n").map { line in
        line.split(separator: " ").dropFirst(2).joined(separator: " ")
      }
    )
  }
}

/// A directory of a test's own, removed with the value.
final class TemporaryDirectory {
  let path: String

  init() throws {
    var template = Array("/tmp/supervisor-frameworks-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw CocoaError(.fileWriteUnknown) }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// Writes a file, with the folders it lies in.
  func write(_ name: String, _ bytes: [UInt8]) throws {
    let url = URL(fileURLWithPath: path + "/" + name)
    try FileManager.default.createDirectory(
      at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
    try Data(bytes).write(to: url)
  }

  func write(_ name: String, _ text: String) throws { try write(name, Array(text.utf8)) }
}

/// A small Django project, made for one test.
func project(settings: String, manage: String? = Project.manage) throws -> TemporaryDirectory {
  let directory = try TemporaryDirectory()
  if let manage { try directory.write("manage.py", manage) }
  try directory.write("site_/__init__.py", "")
  try directory.write("site_/settings.py", settings)
  return directory
}

enum Project {
  static let manage = """
    import os
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_.settings")
    """
}
