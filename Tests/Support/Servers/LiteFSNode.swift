import Foundation
import Glibc

/// A LiteFS with a static lease, which ends with this process at the latest: the one that LITEFS_BINARY names, else the
/// stand-in.
public final class LiteFSNode: Sendable {
  /// Why there can be none here; nil: there can. Mounting needs root here, since tests unmount what others mounted.
  public static let obstacle: String? =
    if geteuid() != 0 {
      "only root may mount and unmount at will"
    } else if access("/dev/fuse", R_OK | W_OK) != 0 {
      "/dev/fuse cannot be used"
    } else {
      nil
    }
  /// Whether it is the stand-in, which takes orders.
  public static var takesOrders: Bool { getenv("LITEFS_BINARY") == nil }

  private let script: ServerScript
  /// Its name in the lease.
  public let name: String

  /// Mounts one.
  ///
  /// - Parameter primary: the node to follow; nil: it is the primary.
  public init(_ name: String = "node-1", following primary: LiteFSNode? = nil) throws {
    let script = try ServerScript("litefs.sh")
    self.script = script
    self.name = name
    let folder = script.folder
    let text = """
      fuse:
        dir: "\(folder)/mnt"
      data:
        dir: "\(folder)/data"
      http:
        addr: "127.0.0.1:\(script.port)"
      lease:
        type: "static"
        hostname: "\(primary?.name ?? name)"
        advertise-url: "http://127.0.0.1:\(primary?.port ?? script.port)"
        candidate: \(primary == nil)

      """
    try Data(text.utf8).write(to: URL(fileURLWithPath: folder + "/litefs.yml"))
    try start()
  }

  /// Of its API, on 127.0.0.1.
  public var port: UInt16 { script.port }
  /// Where it mounts.
  public var mount: String { script.folder + "/mnt" }
  /// Its data directory.
  public var data: String { script.folder + "/data" }

  /// Mounts (again); returns when its API answers.
  public func start() throws { try script.order("start") }
  /// Ends it in order.
  public func stop() throws { try script.order("stop") }
  /// Ends it without a word: the mount stays, and is dead.
  public func kill() throws { try script.order("kill") }
  /// Takes its mount away, which it does not notice.
  public func unmount() throws { try script.order("unmount") }
  /// Orders the stand-in to do something (see its README).
  public func order(_ name: String) throws { try script.order("order \(name)") }
  /// Takes the order back.
  public func revoke(_ name: String) throws { try script.order("revoke \(name)") }
  /// Ends it for good, and removes its files.
  public func end() { script.end() }
}
