import Foundation
import Glibc

/// Runs `body` with a new directory that everybody may enter, and removes it with all it holds.
func withTemporaryDirectory<Result>(_ body: (String) throws -> Result) throws -> Result {
  var template = Array("/tmp/supervisor-e2e-XXXXXX".utf8CString)
  guard mkdtemp(&template) != nil else { throw HarnessError.system("mkdtemp") }
  let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  defer { try? FileManager.default.removeItem(atPath: path) }
  chmod(path, 0o755)
  return try body(path)
}

/// Writes a file with these permissions.
func writeFile(_ path: String, _ text: String, mode: mode_t = 0o644) throws {
  let written = mode & 0o111 == 0 ? path : path + ".written"
  try Data(text.utf8).write(to: URL(fileURLWithPath: written))
  if written != path {
    try copyProgram(written, to: path)
    unlink(written)
  }
  guard chmod(path, mode) == 0 else { throw HarnessError.system("chmod \(path)") }
}

/// Copies a file that is to be executed, by a process of its own: were the copy open for writing here, what a test
/// starts meanwhile would hold it open too until its exec, and nobody can execute a file that is.
func copyProgram(_ source: String, to path: String) throws {
  let outcome = try Stage.result(Launch(["/bin/cp", source, path]))
  guard outcome.ending == .exited(0) else { throw HarnessError("cp \(source) \(path): \(outcome.errors)") }
}

/// Copies of the supervisor and the probe that every user may reach: the build folder may lie under a home
/// that others cannot enter.
func withPublicPrograms<Result>(_ body: (_ supervisor: String, _ probe: String) throws -> Result) throws
  -> Result
{
  try withTemporaryDirectory { folder in
    for (name, source) in [("supervisor", Programs.supervisor), ("probe", Programs.probe)] {
      try copyProgram(source, to: "\(folder)/\(name)")
      chmod("\(folder)/\(name)", 0o755)
    }
    return try body(folder + "/supervisor", folder + "/probe")
  }
}
