import AgentProtocol
import Blocking
import Glibc

/// What one look at a mount point has found. Everything here blocks when the mount hangs.
public struct MountLook: Equatable, Sendable {
  /// How it is; never `hung`, and without the free space.
  public var mount: LiteFSMount
  /// What `.lag` says, without its line end; nil when it cannot be read.
  public var lag: String?
  /// What the position files say, by the database's name.
  public var positions: [String: String] = [:]

  /// How many databases are looked at.
  static let maximumDatabases = 1000

  /// Looks at a place.
  static func look(_ place: LiteFSPlace) -> MountLook {
    let table: MountTable
    do throws(SmallFile.Failure) {
      table = try MountTable.read()
    } catch {
      return MountLook(.failed, "the mount table cannot be read: \(error.text)")
    }
    let path = table.resolve(place.mountPath)
    let entries = table.entries(at: path)
    guard let top = entries.last else { return unmounted(path) }
    guard top.isLiteFS else {
      return MountLook(.other, "a file system of type \(top.type) (\(top.source)) is mounted there", entries)
    }
    var status = statvfs()
    guard statvfs(path, &status) == 0 else { return trouble(errno, "it", entries) }
    var look = MountLook(.works, "", entries)
    do throws(SmallFile.Failure) {
      look.lag = try SmallFile.line(path + "/.lag", limit: 64)
    } catch {
      if error.code != ENOENT { return trouble(error.code, ".lag", entries) }
    }
    for name in (place.databases ?? databases(place.dataPath)).prefix(maximumDatabases)
    where !name.utf8.contains(where: { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "\n") }) {
      // One that is not there has no position.
      guard let text = try? SmallFile.line(path + "/" + name + "-pos", limit: 64), !text.isEmpty,
        !text.utf8.contains(UInt8(ascii: " "))
      else { continue }
      look.positions[name] = text
    }
    return look
  }

  private init(_ state: LiteFSMount.State, _ text: String, _ entries: [MountTable.Entry] = []) {
    mount = LiteFSMount(state, text: text, layers: UInt64(entries.count))
  }

  private static func trouble(_ code: CInt, _ what: String, _ entries: [MountTable.Entry]) -> MountLook {
    let state: LiteFSMount.State =
      switch code {
      // The second one is for those who asked while it was cut.
      case ENOTCONN, ECONNABORTED: .dead
      case EACCES, EPERM: .denied
      default: .failed
      }
    return MountLook(state, "\(what) cannot be looked at: \(Blocking.text(of: code).lowercased())", entries)
  }

  private static func unmounted(_ path: String) -> MountLook {
    guard let directory = opendir(path) else {
      switch errno {
      case ENOENT: return MountLook(.absent, "")
      case ENOTDIR: return MountLook(.other, "it is no directory")
      case let code:
        return MountLook(.failed, "the directory cannot be read: \(Blocking.text(of: code).lowercased())")
      }
    }
    defer { closedir(directory) }
    return MountLook(names(directory).isEmpty ? .emptyDirectory : .directory, "")
  }

  /// LiteFS keeps a folder for each database below its data directory.
  private static func databases(_ dataPath: String) -> [String] {
    guard let directory = opendir(dataPath + "/dbs") else { return [] }
    defer { closedir(directory) }
    return names(directory).sorted()
  }

  private static func names(_ directory: OpaquePointer) -> [String] {
    var names: [String] = []
    while names.count < maximumDatabases, let entry = readdir(directory) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
  }

  /// Bytes that are free where a path is; nil when that cannot be told.
  static func freeSpace(_ path: String) -> UInt64? {
    var status = statvfs()
    guard statvfs(path, &status) == 0 else { return nil }
    return UInt64(status.f_bavail).multipliedReportingOverflow(by: UInt64(status.f_frsize)).partialValue
  }
}
