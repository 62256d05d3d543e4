import AgentProtocol
import CLinux
import Glibc
import NIOCore
import ProbeDriver

/// The agent's side of the connection to PID 1, for as long as the process lives.
///
/// Everything happens on one event loop, and that loop sends the heartbeat: when one comes, the agent works.
final class AgentSession: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private let role: AgentRole
  private let eventLoop: any EventLoop
  private let probes: ProbeRunner
  private let certificateFile: String?
  private var decoder = FrameDecoder()
  private var context: ChannelHandlerContext?
  private var coordinator: Coordinator?
  private var liteFS: LiteFSWatch?
  /// Nothing is said any more.
  private var isEnding = false
  /// The end waits for what is guarded.
  private var isClosing = false

  init(role: AgentRole, eventLoop: any EventLoop, probes: ProbeRunner, certificateFile: String?) {
    self.certificateFile = certificateFile
    self.role = role
    self.eventLoop = eventLoop
    self.probes = probes
  }

  func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
    switch role {
    case .coordination:
      coordinator = Coordinator(
        eventLoop: eventLoop, certificateFile: certificateFile,
        log: { [weak self] in self?.send(.log(level: $0, text: $1)) },
        report: { [weak self] in self?.send(.coordination($0)) })
    case .litefs:
      liteFS = LiteFSWatch(
        eventLoop: eventLoop, canReport: { [weak self] in self?.context?.channel.isWritable == true },
        send: { [weak self] reports in self?.together { for report in reports { $0.send(.litefs(report)) } } }
      )
    }
    send(.hello(version: Release.version, role: role.name, pid: getpid()))
    beat()
  }

  private var gatherings = 0
  private var beats = 0
  private var beatTimer: Scheduled<Void>?

  private func beat() {
    // Of a program of this size most is needed for its start alone: the libraries' own, and that of connections.
    if beats == 1 || beats == 5 { clinux_release_library_pages() }
    beats += 1
    beatTimer = eventLoop.assumeIsolated().scheduleTask(in: liteFS?.interval ?? .seconds(1)) { [self] in
      // A supervisor that does not read (it was stopped) needs no heap of heartbeats when it goes on.
      together { session in
        if session.context?.channel.isWritable == true { session.send(.heartbeat) }
        session.liteFS?.beat()
      }
      beat()
    }
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    decoder.append(unwrapInboundIn(data).readableBytesView)
    do throws(FrameError) {
      while !isEnding, let frame = try decoder.next() {
        if let request = try AgentRequest(frame) { handle(request) }
      }
    } catch {
      end("the supervisor cannot be understood: \(error)", code: 70)
    }
  }

  private func handle(_ request: AgentRequest) {
    switch request {
    case .startProbe(let id, let target, let timeout):
      probes.start(id, target, timeout: timeout) { [weak self] outcome in
        self?.send(.probeResult(id: id, outcome: outcome))
      }
    case .startUnknownProbe(let id, let method):
      let reason = "this supervisor-agent (\(Release.version)) cannot probe '\(method)'"
      send(.probeResult(id: id, outcome: .refused(reason)))
    case .cancelProbe(let id): probes.cancel(id)
    case .coordination(let request): coordinator?.handle(request)
    case .litefs(let request): watch(request)
    case .end: end("it was asked to end")
    }
  }

  private func watch(_ request: LiteFSRequest) {
    guard let liteFS else { return }
    let interval = liteFS.interval
    liteFS.handle(request)
    guard liteFS.interval != interval else { return }
    beatTimer?.cancel()
    beat()
  }

  private func send(_ report: AgentReport) {
    guard let context, !isEnding else { return }
    context.write(wrapOutboundOut(ByteBuffer(bytes: report.frame.bytes)), promise: nil)
    if gatherings == 0 { context.flush() }
  }

  /// What is sent meanwhile goes out at once, so that it wakes the supervisor once.
  private func together(_ body: (AgentSession) -> Void) {
    gatherings += 1
    body(self)
    gatherings -= 1
    if gatherings == 0 { context?.flush() }
  }

  /// Ends the process once what is guarded has ended, and the last report is on its way. Threads that hang in the kernel
  /// do not hold it up.
  func end(_ reason: String, code: CInt = 0) {
    guard !isClosing else { return }
    isClosing = true
    liteFS?.end()
    guard let coordinator else { return leave(reason, code) }
    // Heartbeats and pings go on meanwhile: whoever took us for dead would let the lock go.
    coordinator.end(isHeard: true) { [self] in leave(reason, code) }
  }

  private func leave(_ reason: String, _ code: CInt) {
    let last = AgentReport.end(reason: reason).frame.bytes
    isEnding = true
    guard let context else { _exit(code) }
    eventLoop.assumeIsolated().scheduleTask(in: .seconds(1)) { _exit(code) }
    context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: last))).whenComplete { _ in _exit(code) }
  }

  /// The supervisor is gone: there is nobody to work for, and perhaps something left to end.
  private func lostSupervisor() {
    isEnding = true
    context = nil
    guard !isClosing, let coordinator else {
      // An end that waits for what is guarded goes on; without a context it says nothing.
      if !isClosing { _exit(0) }
      return
    }
    isClosing = true
    coordinator.end(isHeard: false) { _exit(0) }
  }

  func channelInactive(context: ChannelHandlerContext) {
    lostSupervisor()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    lostSupervisor()
  }
}
