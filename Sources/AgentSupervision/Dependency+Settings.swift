import AgentProtocol
import Settings

extension Dependency {
  /// What an entry of a `wait_for` asks for; nil for a `redis` without a server, which the settings do not let through.
  public init?(_ settings: WaitSettings) {
    let target: ProbeTarget
    switch settings.target {
    case .tcp(let host, let port): target = .tcp(host: host, port: port)
    case .http(let url):
      target = .http(isSecure: url.isSecure, host: url.host, port: url.port, path: url.path)
    case .file(let path): target = .file(path: path)
    case .sqlite(let path): target = .sqlite(path: path)
    case .postgres(let url): target = .postgres(connection: url ?? "")
    case .redis(let url?): target = .redis(url: url)
    case .redis(nil): return nil
    }
    self.init(target: target, timeout: settings.timeout, text: settings.text)
  }
}
