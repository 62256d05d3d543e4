import Glibc
import NIOCore
import NIOPosix
import NIOSSL

extension RedisFailure {
  /// It did not answer in time.
  /// - Parameter hasHeard: whether anything came from it before.
  init(silenceOf target: RedisTarget, within time: Duration, hasHeard: Bool) {
    // A Redis without TLS waits for the end of the first line, which TLS may never send.
    let hint =
      target.isSecure && !hasHeard ? "; it may not speak TLS, and the URL have to begin with redis://" : ""
    self.init(.noAnswer, "\(target): no answer within \(time.readable)\(hint)")
  }

  /// Why there is no connection.
  static func connecting(_ error: any Error, to target: RedisTarget) -> RedisFailure {
    if let error = error as? NIOConnectionError {
      let reasons = error.connectionErrors.map { reason($0.error) }
      if reasons.isEmpty {
        return RedisFailure(
          .unreachable, "\(target): the name \(error.host) is not known, or no name server answered")
      }
      var told: [String] = []
      for reason in reasons where !told.contains(reason) { told.append(reason) }
      return RedisFailure(.unreachable, "\(target): \(told.joined(separator: "; "))")
    }
    if case .connectTimeout? = error as? ChannelError {
      return RedisFailure(.unreachable, "\(target): no answer to the attempt to connect")
    }
    return RedisFailure(.unreachable, "\(target): \(reason(error))")
  }

  /// Why a connection broke.
  static func breaking(_ error: any Error, of target: RedisTarget, isOpen: Bool) -> RedisFailure {
    switch error {
    case NIOSSLError.handshakeFailed(.sslError(let stack))
    where stack.contains(where: { $0.description.contains("CERTIFICATE_VERIFY_FAILED") }):
      return RedisFailure(
        .certificate,
        "\(target): its certificate is not trusted: it is signed by itself or by an authority that is not known here, "
          + "or its time is over; install the authority's certificate, or name it in SSL_CERT_FILE")
    case NIOSSLError.unableToValidateCertificate, is NIOSSLExtraError:
      return RedisFailure(.certificate, "\(target): its certificate is for another name")
    case NIOSSLError.handshakeFailed(.sslError(let stack)):
      let word = brief(stack.first?.description ?? "")
      return word == "WRONG_VERSION_NUMBER"
        ? RedisFailure(.certificate, "\(target): it does not speak TLS; without TLS the URL is redis://")
        : RedisFailure(.certificate, "\(target): no TLS connection: \(word)")
    case let error as BoringSSLError:
      let word = brief("\(error)")
      return word.contains("CERTIFICATE_REQUIRED")
        ? RedisFailure(
          .certificate,
          "\(target): it wants a certificate of its clients, which we have none of; set its tls-auth-clients to no"
        )
        : RedisFailure(.certificate, "\(target): TLS failed: \(word)")
    case is NIOSSLError: return closed(by: target, isOpen: isOpen)
    case let error as IOError where error.errnoCode == ECONNRESET || error.errnoCode == EPIPE:
      return closed(by: target, isOpen: isOpen)
    default: return RedisFailure(.lost, "\(target): \(reason(error))")
    }
  }

  /// The server closed the connection without a word.
  static func closed(by target: RedisTarget, isOpen: Bool) -> RedisFailure {
    if isOpen { return RedisFailure(.lost, "\(target): the connection was closed") }
    let hint =
      target.isSecure
      ? "it may have no connections left"
      : "it may have no connections left, want TLS (rediss://), or be no Redis"
    return RedisFailure(.lost, "\(target): the connection was closed before an answer: \(hint)")
  }

  /// What answers is not Redis, or not any more.
  static func unreadable(
    _ error: RedisProtocolError, from target: RedisTarget, isOpen: Bool
  ) -> RedisFailure {
    if case .tooLong(let bytes) = error {
      return RedisFailure(
        .strangersValue, "\(target): an answer of \(bytes) bytes, which is longer than any of ours")
    }
    // The first byte of an alert of TLS, which is what it makes of our words.
    if !isOpen, case .malformed(let start) = error, start.hasPrefix("\\x15\\x03") {
      return RedisFailure(.certificate, "\(target): it speaks TLS; the URL has to begin with rediss://")
    }
    return RedisFailure(
      isOpen ? .lost : .noRedis,
      "\(target): \(isOpen ? "the connection is out of order" : "this is no Redis"): \(error)")
  }

  private static func reason(_ error: any Error) -> String {
    if let error = error as? IOError {
      return String(cString: strerror(error.errnoCode)).lowercased()
    }
    if case .connectTimeout? = error as? ChannelError { return "no answer to the attempt to connect" }
    return "\(error)"
  }

  /// The part of a TLS library's message that is for people: `WRONG_VERSION_NUMBER`.
  private static func brief(_ message: String) -> String {
    let words = message.split { ": []\"".contains($0) }
    return words.last { $0.count > 3 && $0.allSatisfy { $0.isUppercase || $0 == "_" || $0.isNumber } }
      .map(String.init) ?? message
  }
}
