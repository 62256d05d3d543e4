import AgentProtocol
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
  private var decoder = FrameDecoder()
  private var context: ChannelHandlerContext?
  private var isEnding = false

  init(role: AgentRole, eventLoop: any EventLoop, probes: ProbeRunner) {
    self.role = role
    self.eventLoop = eventLoop
    self.probes = probes
  }

  func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
    send(.hello(version: Release.version, role: role.name, pid: getpid()))
    beat()
  }

  private func beat() {
    eventLoop.assumeIsolated().scheduleTask(in: .seconds(1)) { [self] in
      // A supervisor that does not read (it was stopped) needs no heap of heartbeats when it goes on.
      if context?.channel.isWritable == true { send(.heartbeat) }
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
    case .end: end("it was asked to end")
    }
  }

  private func send(_ report: AgentReport) {
    guard let context, !isEnding else { return }
    context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: report.frame.bytes)), promise: nil)
  }

  /// Ends the process once the last report is on its way. Threads that hang in the kernel do not hold it up.
  func end(_ reason: String, code: CInt = 0) {
    guard !isEnding else { return }
    let last = AgentReport.end(reason: reason).frame.bytes
    isEnding = true
    guard let context else { _exit(code) }
    eventLoop.assumeIsolated().scheduleTask(in: .seconds(1)) { _exit(code) }
    context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: last))).whenComplete { _ in _exit(code) }
  }

  /// The supervisor is gone: there is nobody to work for.
  func channelInactive(context: ChannelHandlerContext) {
    _exit(0)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    _exit(0)
  }
}
