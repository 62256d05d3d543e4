import Settings

// PROXY, PROXY_ADDR and FORWARDING: the write forwarder's settings. LiteFS's own proxy is never set up from them: off Fly
// it answers a replica's write with 200 and loses it.

extension DjangoImport {
  private static let proxyKeys: [(String, String?)] = [
    ("ADDR", nil), ("TARGET", "forward.target"), ("DB", "forward.database"),
    ("PASSTHROUGH", "forward.passthrough"),
    ("PRIMARY_REDIRECT_TIMEOUT", "forward.redirect_timeout"),
  ]

  private static let forwardingKeys: [(String, String?)] = [
    ("ENABLED", nil), ("PRIMARY_URL", "forward.primary_url"), ("TIMEOUT_SECONDS", nil),
    ("RETRY_COUNT", "forward.retries"), ("EXCLUDED_PATHS", "forward.exclude"), ("SCHEME", "forward.scheme"),
    ("CONNECT_TIMEOUT", "forward.connect_timeout"), ("READ_TIMEOUT", "forward.read_timeout"),
    ("RETRY_BACKOFF_BASE", "forward.retry_delay"),
    ("CIRCUIT_BREAKER_THRESHOLD", "forward.circuit_breaker.failures"),
    ("CIRCUIT_BREAKER_RESET_TIMEOUT", "forward.circuit_breaker.reset_after"),
    ("CIRCUIT_BREAKER_ENABLED", "forward.circuit_breaker.enabled"),
  ]

  mutating func forward(_ litefs: PythonValue) {
    let proxy = litefs["PROXY"].flatMap { $0.isNothing ? nil : $0 }
    // The original wrote PROXY_ADDR into its file and ignored PROXY's own address.
    if let address = litefs["PROXY_ADDR"], !address.isNothing {
      take(litefs, "PROXY_ADDR", "forward.listen")
      if let other = proxy?["ADDR"], other != address {
        leave("LITEFS[\"PROXY\"][\"ADDR\"]", "PROXY_ADDR is the one that was used")
      }
    } else if let proxy {
      take(proxy, "ADDR", "forward.listen", in: "LITEFS[\"PROXY\"]")
    }
    if let proxy { section(proxy, Self.proxyKeys, in: "LITEFS[\"PROXY\"]") }

    guard let forwarding = litefs["FORWARDING"], !forwarding.isNothing else { return }
    let name = "LITEFS[\"FORWARDING\"]"
    if let enabled = forwarding["ENABLED"], enabled != .boolean(true) {
      leave(name, "it is not enabled")
      return
    }
    if forwarding["TIMEOUT_SECONDS"] != nil {
      leave("\(name)[\"TIMEOUT_SECONDS\"]", "nothing ever used it; CONNECT_TIMEOUT and READ_TIMEOUT count")
    }
    section(forwarding, Self.forwardingKeys, in: name)
  }

  private mutating func section(_ map: PythonValue, _ keys: [(String, String?)], in name: String) {
    guard case .map(let entries) = map else {
      refuse(name, "\(map.shown) is not a dict", nil)
      return
    }
    unknownKeys(entries, keys.map(\.0), in: name)
    for (key, path) in keys {
      if let path { take(map, key, path, in: name) }
    }
  }
}
