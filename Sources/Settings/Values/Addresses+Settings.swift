// Hosts of checks are literals and localhost only: resolving a name blocks, and PID 1 must not.

/// A host and port in text: `127.0.0.1:80`, `[::1]:80`, `localhost:80`, `:80`. What stands in brackets is an
/// IPv6 address, and no IPv6 address stands without them (RFC 3986 section 3.2.2).
struct HostAndPort {
  /// Without the brackets.
  let host: Substring
  /// The literal address; nil when the host is something else.
  let address: IPAddress?
  let port: Substring?

  /// - Throws: when the text cannot be taken apart, or what is in the brackets is no IPv6 address.
  init(_ text: Substring) throws(ValueProblem) {
    guard text.first == "[" else {
      let parts = text.split(separator: ":", omittingEmptySubsequences: false)
      guard parts.count <= 2 else {
        throw ValueProblem(
          "\(quoted(String(text))) is not a host and port",
          "put an IPv6 address in brackets, as in [::1]:8000")
      }
      host = parts.first ?? ""
      address = IPAddress(String(host))
      port = parts.count == 2 ? parts[1] : nil
      return
    }
    guard let end = text.firstIndex(of: "]") else {
      throw ValueProblem("\(quoted(String(text))) has a '[' without a ']'", "write for instance [::1]:8000")
    }
    let rest = text[text.index(after: end)...]
    guard rest.isEmpty || rest.first == ":" else {
      throw ValueProblem(
        "\(quoted(String(text))) has something else than a port after the ']'",
        "write for instance [::1]:8000")
    }
    host = text[text.index(after: text.startIndex)..<end]
    port = rest.isEmpty ? nil : rest.dropFirst()
    // A zone names an interface of this host only, and the kernel takes it apart from the address.
    guard !host.contains("%") else {
      throw ValueProblem(
        "the address \(quoted(String(host))) has a zone, which is not supported",
        "use an address that needs no '%' part")
    }
    guard let literal = IPAddress(String(host)), case .ipv6 = literal else {
      throw ValueProblem(
        "\(quoted(String(host))) is not an IPv6 address",
        "only an IPv6 address stands in brackets, as in [::1]:8000")
    }
    address = literal
  }

  func portNumber(allowingZero: Bool) throws(ValueProblem) -> UInt16? {
    guard let port else { return nil }
    let range = allowingZero ? "0 to 65535" : "1 to 65535"
    let isNumber = !port.isEmpty && port.allSatisfy(\.isASCIIDigit)
    guard isNumber, let number = UInt16(port), allowingZero || number > 0 else {
      throw ValueProblem("\(quoted(String(port))) is not a port", "write a number from \(range)")
    }
    return number
  }

  /// The host of something outside, which may be a name.
  func hostText(in text: String, example: String) throws(ValueProblem) -> String {
    if address != nil { return String(host) }
    guard !host.isEmpty else {
      throw ValueProblem("\(quoted(text)) has no host", "write for instance \(example)")
    }
    let isName =
      host.utf8.count <= 253
      && host.utf8.allSatisfy { byte in
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
          || [0x2D, 0x2E, 0x5F].contains(byte)
      } && host.first != "-"
    guard isName else {
      throw ValueProblem(
        "\(quoted(String(host))) is not a host name", "use letters, digits, '-' and '.', or an address")
    }
    return String(host)
  }

  func checkHost() throws(ValueProblem) -> Host {
    if let address { return .address(address) }
    if host.lowercased() == "localhost" { return .localhost }
    throw ValueProblem(
      "the host \(quoted(String(host))) is not an IP address",
      "use an address such as 127.0.0.1 or [::1], or localhost; other names are not resolved yet by this version"
    )
  }
}

extension ListenAddress {
  init(settingsText text: String) throws(ValueProblem) {
    if text.allSatisfy(\.isASCIIDigit) {
      throw ValueProblem(
        "\(quoted(text)) is not an address", "write \":\(printable(text))\" for all interfaces")
    }
    if text.hasPrefix("*:") || text.hasPrefix("http") {
      throw ValueProblem(
        "\(quoted(text)) is not an address",
        "write \":8686\" for all interfaces, or 127.0.0.1:8686 for this host only")
    }
    if let bare = IPAddress(text) {
      let isIPv6 = if case .ipv6 = bare { true } else { false }
      throw ValueProblem("\(quoted(text)) has no port", "write \(isIPv6 ? "[\(text)]" : text):8686")
    }
    let parts = try HostAndPort(text[...])
    guard let port = try parts.portNumber(allowingZero: true) else {
      throw ValueProblem("\(quoted(text)) is not an address with a port", "write for instance 127.0.0.1:8686")
    }
    let isEverywhere = parts.host.isEmpty
    let address: IPAddress
    if isEverywhere {
      address = .any6
    } else if let literal = parts.address {
      address = literal
    } else if parts.host.lowercased() == "localhost" {
      address = .loopback4
    } else {
      throw ValueProblem(
        "\(quoted(String(parts.host))) is not an IP address",
        "write for instance 127.0.0.1:8686, [::1]:8686 or :8686")
    }
    self.init(address: address, port: port, isAllInterfaces: isEverywhere, text: text)
  }
}

extension SocketTarget {
  init(settingsText text: String) throws(ValueProblem) {
    let target = text.hasPrefix("tcp://") ? text.dropFirst(6) : text[...]
    // Not quoted: there may be a password in it.
    if target.contains("@") {
      throw ValueProblem(
        "a host to check cannot have a user or password", "write for instance 127.0.0.1:5432")
    }
    if target.contains("/") {
      throw ValueProblem(
        "\(quoted(text)) is not a host and port",
        "write for instance 127.0.0.1:5432; a URL needs an http check")
    }
    let parts = try HostAndPort(target)
    let bare = parts.host.isEmpty ? parts.port ?? "" : parts.host
    if parts.host.isEmpty || parts.port == nil && bare.allSatisfy(\.isASCIIDigit) {
      throw ValueProblem(
        "\(quoted(text)) has no host", "write 127.0.0.1:\(bare.isEmpty ? "5432" : printable(String(bare)))")
    }
    let host = try parts.checkHost()
    guard let port = try parts.portNumber(allowingZero: false) else {
      throw ValueProblem(
        "\(quoted(text)) has no port", "write for instance \(printable(String(target))):5432")
    }
    self.init(host: host, port: port, text: text)
  }
}

extension HTTPTarget {
  init(settingsText text: String) throws(ValueProblem) {
    if text.lowercased().hasPrefix("https://") {
      throw ValueProblem(
        "https is not supported yet by this version",
        "use http:// with the address the app itself listens on, which needs no TLS, or a tcp or exec check")
    }
    guard text.lowercased().hasPrefix("http://") else {
      throw ValueProblem("\(quoted(text)) is not a URL", "write for instance http://127.0.0.1:8000/health")
    }
    // Anything outside printable ASCII would break the request line, or smuggle another one in.
    guard text.utf8.allSatisfy({ (0x21...0x7E).contains($0) }), text.utf8.count <= 2000 else {
      throw ValueProblem(
        "the URL \(quoted(text)) has a space or a character outside ASCII, or is too long",
        "escape it as in %20")
    }
    let rest = text.dropFirst(7)
    let authority = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
    let path = rest.dropFirst(authority.count)
    if path.contains("#") { throw ValueProblem("a URL to check cannot have a '#' part", "remove it") }
    if authority.contains("@") {
      throw ValueProblem(
        "a URL to check cannot have a user or password", "let the health path answer without")
    }
    let parts = try HostAndPort(authority)
    guard !parts.host.isEmpty else {
      throw ValueProblem("\(quoted(text)) has no host", "write for instance http://127.0.0.1:8000/health")
    }
    let host = try parts.checkHost()
    let port = try parts.portNumber(allowingZero: false) ?? 80
    self.init(
      host: host, port: port, authority: String(authority),
      path: path.first == "/" ? String(path) : "/" + path,
      text: text)
  }
}
