import Glibc

/// What is mounted where, as the kernel lists it. Reading it touches no mount.
public struct MountTable: Sendable {
  /// A mount.
  public struct Entry: Hashable, Sendable {
    /// Where it lies.
    public var path: String
    /// The file system's type: `fuse`, `ext4`.
    public var type: String
    /// What is mounted: a device, a name.
    public var source: String
    /// The minor number of the file system's device, which names its connection below /sys/fs/fuse/connections.
    public var minorNumber: UInt32

    /// A mount.
    public init(path: String, type: String, source: String, minorNumber: UInt32) {
      self.path = path
      self.type = type
      self.source = source
      self.minorNumber = minorNumber
    }

    /// Whether LiteFS mounted it: type `fuse`, source `litefs`.
    public var isLiteFS: Bool { type == "fuse" && source == "litefs" }
  }

  /// Every mount, in the order of the list: what lies upon another one comes after it.
  public var entries: [Entry]

  /// The table in a text of the form of /proc/PID/mountinfo (proc(5)). Lines that have another form are left out.
  public init(mountinfo bytes: some Collection<UInt8>) {
    entries = bytes.split(separator: UInt8(ascii: "\n")).compactMap { line in
      let fields = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
      guard fields.count >= 10, let mark = fields[6...].firstIndex(where: { $0.elementsEqual("-".utf8) }),
        mark + 2 < fields.count,
        let minor = Self.text(fields[2]).split(separator: ":").last.flatMap({ UInt32($0) })
      else { return nil }
      return Entry(
        path: Self.text(fields[4]), type: Self.text(fields[mark + 1]), source: Self.text(fields[mark + 2]),
        minorNumber: minor)
    }
  }

  /// This process's table.
  /// - Throws: when /proc cannot be read.
  public static func read() throws(SmallFile.Failure) -> MountTable {
    MountTable(mountinfo: try SmallFile.read("/proc/self/mountinfo", limit: 16 << 20))
  }

  /// What is mounted at a path, the topmost last.
  public func entries(at path: String) -> [Entry] { entries.filter { $0.path == path } }

  /// Blanks, tabs, line ends and backslashes are written as a backslash and three octal digits.
  private static func text(_ field: some Collection<UInt8>) -> String {
    var bytes: [UInt8] = []
    var rest = Array(field)[...]
    while let byte = rest.popFirst() {
      let digits = rest.prefix(3)
      if byte == UInt8(ascii: "\\"), digits.count == 3, digits.allSatisfy({ (0x30...0x37).contains($0) }) {
        bytes.append(UInt8(truncatingIfNeeded: digits.reduce(0) { $0 << 3 | UInt16($1 - 0x30) }))
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The path as the kernel lists it: without symbolic links. What is mounted there is not touched, so a mount that hangs
  /// does not matter; what it lies on does.
  public func resolve(_ path: String) -> String {
    var path = path
    // As many links as the kernel would follow.
    for _ in 0..<40 {
      while path.utf8.count > 1, path.hasSuffix("/") { path.removeLast() }
      guard let slash = path.lastIndex(of: "/"), path != "/" else { return path }
      let name = path[path.index(after: slash)...]
      guard let parent = realpath(slash == path.startIndex ? "/" : String(path[..<slash]), nil) else {
        return path
      }
      defer { free(parent) }
      let folder = String(cString: parent)
      let whole = (folder == "/" ? "" : folder) + "/" + name
      if entries.contains(where: { $0.path == whole }) { return whole }
      var link = [CChar](repeating: 0, count: Int(PATH_MAX))
      let size = readlink(whole, &link, link.count)
      guard size > 0 else { return whole }
      let target = String(decoding: link.prefix(size).map { UInt8(bitPattern: $0) }, as: UTF8.self)
      path = target.hasPrefix("/") ? target : folder + "/" + target
    }
    return path
  }
}
