import AgentProtocol
import CLinux
import Glibc
import NIOCore
import NIOPosix
import ProbeDriver

/// What the agent's main calls.
public enum AgentProgram {
  private static let usage = """
    usage: supervisor-agent --role coordination|litefs --descriptor N

    The helper of `supervisor`, which starts it by itself when something in the settings needs it. Descriptor N is its
    end of a socket pair; it ends when the other end closes.

    """
  /// The command line is wrong (as supervisor's own).
  private static let usageCode: CInt = 64

  /// Runs until the supervisor is gone, or says so. Returns the exit code when it does not even begin.
  public static func main() -> CInt {
    let words = CommandLine.arguments.dropFirst()
    if words == ["--version"] {
      print("supervisor-agent \(Release.version)")
      return 0
    }
    if words == ["--help"] || words == ["-h"] {
      say(usage)
      return 0
    }
    var role: AgentRole?
    var descriptor: CInt?
    var index = words.startIndex
    while index < words.endIndex {
      let value = words.index(after: index) < words.endIndex ? words[words.index(after: index)] : nil
      switch (words[index], value) {
      case ("--role", let value?) where AgentRole(rawValue: value) != nil: role = AgentRole(rawValue: value)
      case ("--descriptor", let value?) where CInt(value).map({ $0 > 2 }) == true: descriptor = CInt(value)
      default:
        say("supervisor-agent: '\(words[index])' is unknown, or its value is missing or wrong\n\n\(usage)")
        return usageCode
      }
      index += 2
    }
    guard let role, let descriptor else {
      say("supervisor-agent: is started by supervisor, and not by hand\n\n\(usage)")
      return usageCode
    }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFSOCK else {
      say("supervisor-agent: descriptor \(descriptor) is not a socket\n")
      return usageCode
    }
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    // By the process's own number of signals, a pipe: TERM has to end it in order, and the loop waits for descriptors.
    let signals = clinux_signal_pipe_create()
    guard signals >= 0 else {
      say("supervisor-agent: cannot receive signals: \(String(cString: strerror(-signals)))\n")
      return 70
    }
    // This thread is the loop: no other runs until a call has to block.
    MultiThreadedEventLoopGroup.withCurrentThreadAsEventLoop { eventLoop in
      serve(role, descriptor, signals, on: eventLoop)
    }
    return 0
  }

  private static func serve(
    _ role: AgentRole, _ descriptor: CInt, _ signals: CInt, on eventLoop: any EventLoop
  ) {
    let certificates = getenv("SSL_CERT_FILE").map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    let databases = DatabaseProbes(eventLoop: eventLoop, certificateFile: certificates)
    let probes = ProbeRunner(eventLoop: eventLoop, certificateFile: certificates, databases: databases.look)
    let session = AgentSession(
      role: role, eventLoop: eventLoop, probes: probes, certificateFile: certificates)
    ClientBootstrap(group: eventLoop)
      .channelOption(.autoRead, value: false)
      .withConnectedSocket(descriptor)
      .assumeIsolated().whenComplete { result in
        do {
          let channel = try result.get()
          try channel.pipeline.syncOperations.addHandler(session)
          channel.setOption(.autoRead, value: true).whenSuccess { channel.read() }
        } catch {
          say("supervisor-agent: cannot use descriptor \(descriptor): \(error)\n")
          _exit(70)
        }
      }
    NIOPipeBootstrap(group: eventLoop)
      .channelOption(.autoRead, value: false)
      .takingOwnershipOfDescriptor(input: signals)
      .assumeIsolated().whenComplete { result in
        do {
          let channel = try result.get()
          try channel.pipeline.syncOperations.addHandler(SignalHandler(session))
          channel.setOption(.autoRead, value: true).whenSuccess { channel.read() }
        } catch {
          say("supervisor-agent: cannot receive signals: \(error)\n")
          _exit(70)
        }
      }
  }

  private static func say(_ text: String) {
    let bytes = Array(text.utf8)
    _ = write(2, bytes, bytes.count)
  }
}

/// Ends the session at TERM and INT; the other signals are none of its business.
private final class SignalHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer

  private let session: AgentSession
  private var received: [UInt8] = []

  init(_ session: AgentSession) {
    self.session = session
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    received += unwrapInboundIn(data).readableBytesView
    let size = MemoryLayout<clinux_signal>.size
    while received.count >= size {
      let signal = received.withUnsafeBytes { $0.loadUnaligned(as: clinux_signal.self) }
      received.removeFirst(size)
      if signal.number == SIGTERM || signal.number == SIGINT {
        session.end("it was asked to end by a signal")
      }
    }
  }
}
