import AgentProtocol
import Foundation
import NIOCore
import NIOPosix
import TestSupport
import Testing

@testable import LiteFSDriver

@Suite("LiteFS: the mount point", .serialized)
struct MountTests {
  private func place(_ mount: String, data: String) -> LiteFSPlace {
    LiteFSPlace(mountPath: mount, dataPath: data, host: "127.0.0.1", port: 1)
  }

  private func place(_ node: LiteFSNode) -> LiteFSPlace { place(node.mount, data: node.data) }

  @Test(
    "what is no mount is told apart: nothing, a directory with something in it, an empty one, a file, another's mount"
  )
  func ordinary() throws {
    let folder = try Folder()
    try folder.make("full")
    try folder.write("full/file")
    try folder.make("empty")
    try folder.write("file")
    func look(_ path: String) -> LiteFSMount { MountLook.look(place(path, data: folder.path)).mount }
    #expect(look(folder.path + "/missing") == LiteFSMount(.absent))
    #expect(look(folder.path + "/full") == LiteFSMount(.directory))
    #expect(look(folder.path + "/empty/") == LiteFSMount(.emptyDirectory))
    #expect(look(folder.path + "/file").state == .other)
    #expect(look("/proc").state == .other)
    #expect(look("/proc").text.contains("type proc"))
    #expect(look("/proc").layers > 0)
    // Nobody else's mount is taken away.
    #expect(MountClearing.clear("/proc", abort: true) == nil)
    #expect(try MountTable.read().entries(at: "/proc").isEmpty == false)
    #expect((MountLook.freeSpace(folder.path) ?? 0) > 0)
    #expect(MountLook.freeSpace(folder.path + "/missing") == nil)
  }

  @Test(
    "a mount that works says its lag; without its process it is dead; then it is cleared, though it is in use",
    .disabled(if: LiteFSNode.obstacle != nil, "\(LiteFSNode.obstacle ?? "")"))
  func life() throws {
    let node = try LiteFSNode()
    defer { node.end() }
    let working = MountLook.look(place(node))
    #expect(working.mount == LiteFSMount(.works, layers: 1))
    #expect(working.lag == "+000000000")
    let held = open(node.mount, O_RDONLY | O_DIRECTORY)
    defer { close(held) }
    try node.kill()
    let dead = MountLook.look(place(node))
    #expect(dead.mount.state == .dead && dead.lag == nil)
    #expect(MountClearing.clear(node.mount, abort: false) == nil)
    #expect(try MountTable.read().entries(at: node.mount).isEmpty)
    #expect(MountLook.look(place(node)).mount == LiteFSMount(.emptyDirectory))
    // Once more, where nothing is left to do.
    #expect(MountClearing.clear(node.mount, abort: true) == nil)
    // Users have a program for it.
    #expect(Fusermount.unmountLazily(node.mount)?.contains("failed to unmount") == true)
    try node.start()
    #expect(MountLook.look(place(node)).mount.state == .works)
    try node.kill()
    #expect(Fusermount.unmountLazily(node.mount) == nil)
    #expect(MountLook.look(place(node)).mount == LiteFSMount(.emptyDirectory))
  }

  @Test(
    "dead mounts upon each other go all, what somebody else has mounted upon them does not",
    .disabled(if: LiteFSNode.obstacle != nil, "\(LiteFSNode.obstacle ?? "")"))
  func layers() throws {
    let node = try LiteFSNode()
    defer { node.end() }
    // As when LiteFS starts upon its own stale mount that is in use.
    try #require(mount(node.mount, node.mount, nil, UInt(MS_BIND), nil) == 0)
    #expect(MountLook.look(place(node)).mount == LiteFSMount(.works, layers: 2))
    try node.kill()
    #expect(MountLook.look(place(node)).mount.state == .dead)
    #expect(MountClearing.clear(node.mount, abort: false) == nil)
    #expect(MountLook.look(place(node)).mount == LiteFSMount(.emptyDirectory))
    try node.start()
    let other = try Folder()
    try #require(mount(other.path, node.mount, nil, UInt(MS_BIND), nil) == 0)
    #expect(MountLook.look(place(node)).mount.state == .other)
    let refusal = try #require(MountClearing.clear(node.mount, abort: true))
    #expect(refusal.contains("mounted over it"))
    #expect(umount2(node.mount, CInt(MNT_DETACH)) == 0)
    #expect(MountLook.look(place(node)).mount.state == .works)
  }

  @Test(
    "who holds something in the mount is found, whether its process lives or not, and we are not among them",
    .disabled(if: LiteFSNode.obstacle != nil, "\(LiteFSNode.obstacle ?? "")"))
  func holders() throws {
    let node = try LiteFSNode()
    defer { node.end() }
    let own = open(node.mount, O_RDONLY | O_DIRECTORY)
    defer { close(own) }
    let reader = try Holder("exec 3<'\(node.mount)/.lag'")
    let sitter = try Holder("cd '\(node.mount)'")
    let expected: Set = [
      LiteFSHolder(pid: reader.pid, what: "file \(node.mount)/.lag"),
      LiteFSHolder(pid: sitter.pid, what: "cwd \(node.mount)"),
    ]
    #expect(Set(try MountHolders.find(node.mount)) == expected)
    try node.kill()
    #expect(Set(try MountHolders.find(node.mount + "/")) == expected)
    sitter.end()
    #expect(try MountHolders.find(node.mount).map(\.pid) == [reader.pid])
  }

  @Test(
    "a mount that hangs keeps one thread, and the looks end in time; an abort ends the wait of all",
    .disabled(if: LiteFSNode.obstacle != nil, "\(LiteFSNode.obstacle ?? "")"),
    .disabled(if: !LiteFSNode.takesOrders, "a real LiteFS hangs by no order"))
  func hanging() throws {
    let node = try LiteFSNode()
    defer { node.end() }
    let loop = try TestLoop()
    defer { loop.end() }
    let place = place(node)
    let probe = try loop.run { NIOLoopBound(MountProbe(eventLoop: $0, place: place), eventLoop: $0) }
    func look() throws -> MountLook {
      try loop.wait { loop, promise in probe.value.look { promise.succeed($0) } }
    }
    #expect(try look().mount.state == .works)
    let before = threads()
    try node.order("hang-fuse")
    let began = Date()
    let first = try look().mount
    #expect(first.state == .hung && first.hungFor >= .milliseconds(590) && (first.freeSpace ?? 0) > 0)
    #expect(Date().timeIntervalSince(began) < 3)
    for _ in 0..<100 { #expect(try look().mount.state == .hung) }
    #expect(threads() <= before + 2)
    let work = try loop.run { NIOLoopBound(MountWork(eventLoop: $0, path: place.mountPath), eventLoop: $0) }
    try loop.wait { loop, promise in
      work.value.clear(abort: true) { promise.completeWith($0.mapError { $0 }) }
    }
    try loop.wait { loop, promise in probe.value.whenIdle { promise.succeed() } }
    #expect(try look().mount.state == .emptyDirectory)
    // LiteFS itself does not see it before it is told.
    try node.kill()
  }

  /// Of this process.
  private func threads() -> Int {
    (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/task").count) ?? 0
  }
}

/// A shell that has done something and waits.
final class Holder {
  private let process = Process()

  init(_ command: String) throws {
    let output = Pipe()
    process.executableURL = URL(fileURLWithPath: "/bin/bash")
    process.arguments = ["-c", command + " && echo ok && exec sleep 600"]
    process.standardOutput = output
    process.standardInput = FileHandle.nullDevice
    try process.run()
    guard output.fileHandleForReading.readData(ofLength: 3) == Data("ok\n".utf8) else {
      throw HarnessError("the shell did not do: \(command)")
    }
  }

  deinit { end() }

  var pid: Int32 { process.processIdentifier }

  func end() {
    guard process.isRunning else { return }
    kill(pid, SIGKILL)
    process.waitUntilExit()
  }
}

/// An event loop on a thread of its own.
final class TestLoop: Sendable {
  private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
  private let loop: any EventLoop

  init() throws { loop = group.next() }

  func end() { try? group.syncShutdownGracefully() }

  func run<Value: Sendable>(_ body: @escaping @Sendable (any EventLoop) -> Value) throws -> Value {
    try loop.submit { [loop] in body(loop) }.wait()
  }

  func wait<Value: Sendable>(
    _ body: @escaping @Sendable (any EventLoop, EventLoopPromise<Value>) -> Void
  ) throws -> Value {
    let promise = loop.makePromise(of: Value.self)
    let timer = loop.scheduleTask(in: .seconds(20)) { promise.fail(HarnessError("nothing within 20 s")) }
    defer { timer.cancel() }
    loop.execute { [loop] in body(loop, promise) }
    return try promise.futureResult.wait()
  }
}
