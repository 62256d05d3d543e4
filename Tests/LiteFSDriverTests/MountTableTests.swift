import Foundation
import Testing

@testable import LiteFSDriver

@Suite("LiteFS: the mount table")
struct MountTableTests {
  private let text = #"""
    22 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw
    36 22 0:47 / /litefs rw,nosuid,nodev shared:12 master:3 - fuse litefs rw,user_id=0,group_id=0
    37 36 0:48 / /litefs rw,nosuid,nodev - fuse litefs rw,user_id=0,group_id=0
    38 22 0:50 / /my\040data\134x\011y rw - fuse.sshfs host:/a\040b rw
    39 22 8:1 / /srv rw - xfs
    no line at all
    40 22 x:y / /none rw - xfs /dev/sda1 rw
    """#

  private var table: MountTable { MountTable(mountinfo: Array(text.utf8)) }

  @Test(
    "every mount is read, in its order, whatever optional fields it has; what is cut or no mount is left out")
  func entries() {
    #expect(table.entries.map(\.path) == ["/", "/litefs", "/litefs", "/my data\\x\ty"])
    #expect(table.entries(at: "/litefs").map(\.minorNumber) == [47, 48])
    #expect(table.entries(at: "/litefs").allSatisfy { $0.isLiteFS && $0.type == "fuse" })
    #expect(table.entries.last?.source == "host:/a b" && table.entries.last?.isLiteFS == false)
    #expect(table.entries(at: "/other").isEmpty)
  }

  @Test("a backslash that begins no number stays, and a cut one does not trap")
  func escapes() {
    let odd = MountTable(mountinfo: Array(#"1 2 0:3 / /a\9b\04 rw - fuse li\ rw"#.utf8))
    #expect(odd.entries.map(\.path) == [#"/a\9b\04"#])
    #expect(odd.entries.map(\.source) == [#"li\"#])
  }

  @Test("this process's own table has the root, and nothing where nothing is mounted")
  func own() throws {
    let table = try MountTable.read()
    #expect(table.entries.contains { $0.path == "/" })
    #expect(table.entries.contains { $0.path == "/proc" && $0.type == "proc" })
  }

  @Test("a path is resolved as the kernel lists it: its last part too, unless something is mounted there")
  func paths() throws {
    let folder = try Folder()
    let real = try #require(realpath(folder.path, nil).map { String(cString: $0) })
    try folder.make("real/inner")
    try folder.link("link", to: "real")
    try folder.link("absolute", to: folder.path + "/link/inner")
    try folder.link("round", to: "round")
    let table = MountTable(mountinfo: [])
    #expect(table.resolve(folder.path + "/link/inner") == real + "/real/inner")
    #expect(table.resolve(folder.path + "/link//") == real + "/real")
    #expect(table.resolve(folder.path + "/absolute") == real + "/real/inner")
    #expect(table.resolve(folder.path + "/missing") == real + "/missing")
    #expect(table.resolve("/") == "/")
    #expect(table.resolve(folder.path + "/round").hasSuffix("/round"))
    // A mount is never asked whether it is a link.
    let mounted = MountTable(mountinfo: Array("1 2 0:3 / \(real)/link rw - fuse litefs rw\n".utf8))
    #expect(mounted.resolve(folder.path + "/link") == real + "/link")
  }
}

/// A directory that is removed with the last reference to it.
final class Folder {
  let path: String

  init() throws {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("litefs-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    path = url.path
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func make(_ name: String) throws {
    try FileManager.default.createDirectory(atPath: path + "/" + name, withIntermediateDirectories: true)
  }

  func link(_ name: String, to target: String) throws {
    try FileManager.default.createSymbolicLink(atPath: path + "/" + name, withDestinationPath: target)
  }

  func write(_ name: String) throws { try Data("x".utf8).write(to: URL(fileURLWithPath: path + "/" + name)) }
}
