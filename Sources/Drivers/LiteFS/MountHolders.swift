import AgentProtocol
import CLinux
import Glibc

/// Finds the processes that hold something in a mount, by what /proc says of them: the mount is not touched. Blocks while a
/// process's memory map is being changed, which may be for as long as it hangs in the mount itself.
public enum MountHolders {
  /// Bytes of the list: as many as a report takes.
  private static let size = 60 << 10

  /// The holders, but for this process, whose looks are short.
  /// - Throws: when /proc cannot be read.
  static func find(_ givenPath: String) throws(SmallFile.Failure) -> [LiteFSHolder] {
    let path = try MountTable.read().resolve(givenPath)
    let bytes = UnsafeMutablePointer<CChar>.allocate(capacity: size)
    defer { bytes.deallocate() }
    let length = clinux_find_holders(path, bytes, UInt(size))
    guard length >= 0 else { throw SmallFile.Failure(code: CInt(clamping: -length)) }
    let lines = UnsafeRawBufferPointer(start: bytes, count: length).split(separator: UInt8(ascii: "\n"))
    return lines.compactMap { line in
      let words = line.split(separator: UInt8(ascii: " "), maxSplits: 1)
      guard words.count == 2, let pid = Int32(String(decoding: words[0], as: UTF8.self)), pid != getpid()
      else {
        return nil
      }
      return LiteFSHolder(pid: pid, what: String(decoding: words[1], as: UTF8.self))
    }
  }
}
