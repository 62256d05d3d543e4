/// One complete request, as far as this server looks at it.
public struct HTTPRequest: Sendable, Equatable {
  /// The methods that are answered at all.
  public enum Method: String, Sendable {
    /// GET.
    case get = "GET"
    /// HEAD: GET without the body.
    case head = "HEAD"
    /// POST: only on the control socket.
    case post = "POST"
  }

  /// One `name=value` of the query; a name alone has an empty value.
  public struct QueryItem: Sendable, Equatable {
    /// The name, decoded.
    public var name: String
    /// The value, decoded.
    public var value: String

    /// A query item.
    public init(_ name: String, _ value: String = "") {
      self.name = name
      self.value = value
    }
  }

  /// The method.
  public var method: Method
  /// The parts of the path between slashes, each percent-decoded after the split, so that an encoded slash stays
  /// part of a name. `/` has none.
  public var path: [String]
  /// The query, in order. A plus sign is a plus sign here, since names of signals have one (RTMIN+3).
  public var query: [QueryItem]

  /// A request.
  public init(_ method: Method, path: [String], query: [QueryItem] = []) {
    self.method = method
    self.path = path
    self.query = query
  }

  /// The value of the first query item of that name; empty for a name alone, nil when there is none.
  public func queryValue(_ name: String) -> String? {
    query.first { $0.name == name }?.value
  }
}

/// Who sent a request.
public enum Peer: Sendable, Equatable {
  /// Somebody over TCP, who may only read.
  case tcp
  /// A process on the control socket, by the kernel's word. The pid is 0 when it lives outside our namespace.
  case unix(pid: CInt, uid: UInt32)
}
