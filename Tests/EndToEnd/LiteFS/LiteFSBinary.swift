import Foundation
import Glibc
import TestSupport

/// The LiteFS that tests drive: the one that LITEFS_BINARY names, else the stand-in, built when needed.
enum LiteFSBinary {
  static let path: Result<String, HarnessError> = {
    if let given = ProcessInfo.processInfo.environment["LITEFS_BINARY"] { return .success(given) }
    let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("../../LiteFSStandIn/build.sh").standardized.path
    do {
      let outcome = try Stage.result(Launch(["/bin/bash", script]))
      let path = outcome.output.split(separator: "\n").last.map(String.init) ?? ""
      guard outcome.ending == .exited(0), !path.isEmpty else {
        return .failure(HarnessError("the stand-in cannot be built: \(outcome.errors)"))
      }
      return .success(path)
    } catch {
      return .failure(HarnessError("\(error)"))
    }
  }()
}

/// A cluster with a static lease, of which each node is a `supervisor run` on this machine.
struct LiteFSCluster {
  let folder: String
  private let reservations: [Listener]

  init(folder: String, nodes: Int = 1) throws {
    self.folder = folder
    reservations = try (0..<nodes).map { _ in try Listener.reservation() }
  }

  func mount(_ node: Int) -> String { "\(folder)/mnt-\(node)" }

  func url(_ node: Int) -> String { "http://127.0.0.1:\(reservations[node].port)" }

  /// The settings of a node; node 0 is the primary, unless another one is named.
  func settings(_ node: Int, primary: Int = 0, services: [String] = []) throws -> RunSettings {
    var settings = RunSettings()
    settings.services = services
    // Each node has an address of its own, and a replica's settings say the primary's.
    settings.more = [
      "litefs: {mode: mount, binary_path: \"\(try LiteFSBinary.path.get())\", mount_path: \"\(mount(node))\", "
        + "data_path: \"\(folder)/data-\(node)\", node_name: node-\(node), "
        + "http_addr: \"127.0.0.1:\(reservations[node].port)\", advertise_url: \"\(url(primary))\", "
        + "lease: {type: static, primary: node-\(primary)}}"
    ]
    return settings
  }

  /// How many mounts are listed there.
  func mounts(_ node: Int) -> Int {
    (readText("/proc/self/mounts") ?? "").split(separator: "\n")
      .filter { $0.split(separator: " ").dropFirst().first.map(String.init) == mount(node) }.count
  }

  /// The LiteFS of a node, below its supervisor.
  func process(_ stage: Stage) -> pid_t? {
    ProcessEntry.children(of: stage.pid).first { $0.name == "litefs" }?.pid
  }

  /// Whatever a failed test left.
  func clean() {
    for node in reservations.indices {
      for _ in 0..<5 where mounts(node) > 0 { umount2(mount(node), CInt(MNT_DETACH)) }
    }
  }
}

/// Runs `body` with a cluster, where one can be.
func withLiteFSCluster(nodes: Int = 1, _ body: (LiteFSCluster) throws -> Void) throws {
  try withTemporaryDirectory { folder in
    let cluster = try LiteFSCluster(folder: folder, nodes: nodes)
    defer { cluster.clean() }
    try body(cluster)
  }
}
