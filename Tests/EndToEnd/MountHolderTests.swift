import CLinux
import Foundation
import Glibc
import Testing

/// E61's search, on real processes. The rest of the case (end them, then unmount) comes with LiteFS.
@Suite("who holds a mount", .drivesProcesses)
struct MountHolderTests {
  /// The lines about `pid`: `KIND TARGET`.
  private func holds(of pid: pid_t, under path: String) throws -> [String] {
    var buffer = [CChar](repeating: 0, count: 1 << 20)
    let length = clinux_find_holders(path, &buffer, UInt(buffer.count))
    guard length >= 0 else { throw HarnessError.system("the search", Int32(-length)) }
    let text = String(decoding: buffer[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return text.split(separator: "\n").filter { $0.hasPrefix("\(pid) ") }.map {
      String($0.drop { $0 != " " }.dropFirst())
    }
  }

  private func hold(_ kind: String, _ path: String, program: String = Programs.probe) -> Launch {
    Launch([program, "hold", kind, path])
  }

  @Test(
    "E61: a working directory, an open file and a mapping without a descriptor are found, nothing else of them",
    arguments: ["cwd", "file", "map"])
  func kinds(kind: String) throws {
    try withTemporaryDirectory { folder in
      mkdir(folder + "/mount", 0o755)
      mkdir(folder + "/mount/deep", 0o755)
      try writeFile(folder + "/mount/deep/database", "content")
      let path = kind == "cwd" ? folder + "/mount/deep" : folder + "/mount/deep/database"
      try Stage.run(hold(kind, path)) { stage in
        try stage.line("ready")
        for mount in [folder + "/mount", folder + "/mount/", folder + "/mount/deep"] {
          #expect(try holds(of: stage.pid, under: mount) == ["\(kind) \(path)"])
        }
      }
    }
  }

  @Test("E61: a root directory is found", .needsRoot)
  func root() throws {
    try withTemporaryDirectory { folder in
      mkdir(folder + "/mount", 0o755)
      try Stage.run(hold("root", folder + "/mount")) { stage in
        try stage.line("ready")
        #expect(try holds(of: stage.pid, under: folder + "/mount") == ["root \(folder)/mount"])
      }
    }
  }

  @Test("E61: a program that runs from there is found")
  func program() throws {
    try withTemporaryDirectory { folder in
      mkdir(folder + "/mount", 0o755)
      let program = folder + "/mount/program"
      try copyProgram(Programs.probe, to: program)
      try Stage.run(hold("nothing", "/", program: program)) { stage in
        try stage.line("ready")
        #expect(
          try Set(holds(of: stage.pid, under: folder + "/mount")) == ["program \(program)", "map \(program)"])
      }
    }
  }

  @Test("E61: a deleted file holds its file system all the same", arguments: ["file", "map"])
  func deleted(kind: String) throws {
    try withTemporaryDirectory { folder in
      mkdir(folder + "/mount", 0o755)
      try writeFile(folder + "/mount/database", "content")
      try Stage.run(hold(kind, folder + "/mount/database")) { stage in
        try stage.line("ready")
        unlink(folder + "/mount/database")
        let found = try holds(of: stage.pid, under: folder + "/mount")
        #expect(found.count == 1 && found.first?.hasPrefix("\(kind) \(folder)/mount/database") == true)
      }
    }
  }

  @Test("E61: a neighbour whose name begins alike is not taken for it")
  func neighbour() throws {
    try withTemporaryDirectory { folder in
      for name in ["mount", "mount2"] { mkdir("\(folder)/\(name)", 0o755) }
      try writeFile(folder + "/mount2/database", "content")
      try Stage.run(hold("file", folder + "/mount2/database")) { stage in
        try stage.line("ready")
        #expect(try holds(of: stage.pid, under: folder + "/mount") == [])
        #expect(try holds(of: stage.pid, under: folder + "/mount2").count == 1)
      }
    }
  }
}
