/// A string of the kernel's: any bytes but NUL, UTF-8 or not.
///
/// Arguments and environment go from our own start to the child's in this form, so that nothing is lost on the way.
public struct RawString: Hashable, Sendable, CustomStringConvertible, ExpressibleByStringLiteral {
  /// The bytes, without the final NUL.
  public var bytes: [UInt8]

  /// The UTF-8 bytes of a Swift string; cut at a NUL, which the kernel could not carry.
  public init(_ text: String) {
    bytes = Array(text.utf8.prefix { $0 != 0 })
  }

  /// A C string's bytes.
  public init(cString: UnsafePointer<CChar>) {
    var length = 0
    while cString[length] != 0 { length += 1 }
    bytes = cString.withMemoryRebound(to: UInt8.self, capacity: length) {
      Array(UnsafeBufferPointer(start: $0, count: length))
    }
  }

  /// The bytes of a literal.
  public init(stringLiteral value: String) {
    self.init(value)
  }

  /// For people: bytes that are no UTF-8 show as replacement characters.
  public var description: String {
    String(decoding: bytes, as: UTF8.self)
  }
}

/// An environment as execve takes it: strings in order, duplicates and strings without `=` included.
public struct ProcessEnvironment: Hashable, Sendable {
  /// The strings as the child will see them.
  public private(set) var entries: [RawString]

  /// An environment of these strings.
  public init(_ entries: [RawString] = []) {
    self.entries = entries
  }

  /// The environment from C's vector.
  public init(vector: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) {
    entries = []
    var index = 0
    while let entry = vector[index] {
      entries.append(RawString(cString: entry))
      index += 1
    }
  }

  private static func hasName(_ entry: RawString, _ name: [UInt8]) -> Bool {
    entry.bytes.count > name.count && entry.bytes[name.count] == UInt8(ascii: "=")
      && entry.bytes.starts(with: name)
  }

  /// The value of the first entry called `name`, as getenv would find it.
  public func value(of name: String) -> RawString? {
    let name = Array(name.utf8)
    guard let entry = entries.first(where: { Self.hasName($0, name) }) else { return nil }
    var result = RawString("")
    result.bytes = Array(entry.bytes[(name.count + 1)...])
    return result
  }

  /// Sets `name`, in place of all entries of that name.
  public mutating func set(_ name: String, to value: RawString) {
    let key = Array(name.utf8)
    entries.removeAll { Self.hasName($0, key) }
    var entry = RawString(name + "=")
    entry.bytes += value.bytes
    entries.append(entry)
  }

  /// Removes all entries called `name`.
  public mutating func remove(_ name: String) {
    let key = Array(name.utf8)
    entries.removeAll { Self.hasName($0, key) }
  }

  /// The names in order, without those of entries that have no `=`.
  public var names: [String] {
    entries.compactMap { entry in
      guard let equals = entry.bytes.firstIndex(of: UInt8(ascii: "=")), equals > 0 else { return nil }
      return String(decoding: entry.bytes[..<equals], as: UTF8.self)
    }
  }
}
