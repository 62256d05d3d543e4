import CLinux
import EventLoop
import Glibc

/// Looks users and groups up in /etc/passwd and /etc/group.
///
/// Read directly, because the name services of a static glibc need its shared objects at run time. A number needs no
/// entry at all: containers run with random user IDs.
public struct UserDatabase: Sendable {
  /// One line of /etc/passwd.
  public struct User: Sendable, Equatable {
    /// Login name.
    public var name: String
    /// User ID.
    public var id: UInt32
    /// Primary group ID.
    public var group: UInt32
    /// Home directory.
    public var home: String
  }

  private var users: [User] = []
  private var groups: [(name: String, id: UInt32, members: [String])] = []

  /// A database from the texts of the two files.
  public init(passwd: String, group: String) {
    // CR and LF are one character together.
    let isLineEnd = { (character: Character) in character == "\n" || character == "\r\n" }
    for line in passwd.split(whereSeparator: isLineEnd) {
      let fields = line.split(separator: ":", omittingEmptySubsequences: false)
      guard fields.count >= 6, let id = UInt32(fields[2]), let group = UInt32(fields[3]) else { continue }
      users.append(User(name: String(fields[0]), id: id, group: group, home: String(fields[5])))
    }
    for line in group.split(whereSeparator: isLineEnd) {
      let fields = line.split(separator: ":", omittingEmptySubsequences: false)
      guard fields.count >= 4, let id = UInt32(fields[2]) else { continue }
      groups.append((String(fields[0]), id, fields[3].split(separator: ",").map(String.init)))
    }
  }

  /// The database of this machine; a file that cannot be read counts as empty.
  public static func system() -> UserDatabase {
    UserDatabase(passwd: contents("/etc/passwd"), group: contents("/etc/group"))
  }

  private static func contents(_ path: String) -> String {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return "" }
    defer { _ = clinux_close(descriptor) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 16384)
    while bytes.count < 1 << 22 {
      let size = clinux_read(descriptor, &buffer, buffer.count)
      if size <= 0 { break }
      bytes += buffer.prefix(size)
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The user with this number, if it has an entry.
  public func user(id: UInt32) -> User? {
    users.first { $0.id == id }
  }

  /// Why a `user:` or `groups:` setting means nobody.
  public struct UnknownName: Error, Equatable, Sendable, CustomStringConvertible {
    /// `user` or `group`.
    public var kind: String
    /// As it was given.
    public var name: String

    /// One sentence with the remedy.
    public var description: String {
      "\(kind) '\(name)' is not in /etc/\(kind == "user" ? "passwd" : "group"): use a number, or add it to the image"
    }
  }

  /// Resolves `name`, `id`, `name:group` or `id:id`, and extra groups.
  /// - Parameter groups: what `groups:` lists; nil: the user's own groups of /etc/group.
  /// - Returns: the identity, and the user's entry if there is one.
  public func resolve(
    user text: String, groups extra: [String]?
  ) throws(UnknownName) -> (identity: Identity, user: User?) {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    let name = parts.first ?? ""
    let entry = users.first { $0.name == name } ?? UInt32(name).flatMap { id in user(id: id) }
    guard let id = entry?.id ?? UInt32(name) else { throw UnknownName(kind: "user", name: name) }
    var group = entry?.group ?? 0
    // A bare number without an entry gets group 0, as container engines do.
    if parts.count == 2 { group = try groupID(parts[1]) }
    var supplementary: [UInt32] = []
    if let extra {
      for name in extra { supplementary.append(try groupID(name)) }
    } else if let entry {
      supplementary = groups.filter { $0.members.contains(entry.name) }.map(\.id)
      if !supplementary.contains(group) { supplementary.insert(group, at: 0) }
    }
    return (Identity(user: id, group: group, supplementaryGroups: supplementary), entry)
  }

  private func groupID(_ name: String) throws(UnknownName) -> UInt32 {
    if let entry = groups.first(where: { $0.name == name }) { return entry.id }
    guard let id = UInt32(name) else { throw UnknownName(kind: "group", name: name) }
    return id
  }
}
