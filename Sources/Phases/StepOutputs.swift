import ReleaseRecords

/// What a step wrote into the file that `$SUPERVISOR_OUTPUT` names: `KEY=VALUE` lines, which are added to the
/// environment of later steps. Empty lines and lines that begin with `#` mean nothing; a value is taken as it is, to the
/// end of its line.
public enum StepOutputs {
  /// The most that is read.
  public static let limit = 64 * 1024

  /// Why the file cannot be used.
  public struct Malformed: Error, Equatable, Sendable, CustomStringConvertible {
    /// One sentence.
    public var description: String

    /// A reason.
    public init(description: String) {
      self.description = description
    }
  }

  /// Reads the file's bytes.
  public static func parse(_ bytes: [UInt8]) throws(Malformed) -> [StepOutput] {
    guard bytes.count <= limit else {
      throw Malformed(description: "what it wrote to $SUPERVISOR_OUTPUT is larger than 64 KiB")
    }
    var outputs: [StepOutput] = []
    for (index, raw) in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
      .enumerated()
    {
      let line = raw.last == UInt8(ascii: "\r") ? raw.dropLast() : raw
      if line.isEmpty || line.first == UInt8(ascii: "#") { continue }
      guard let text = String(validating: line, as: UTF8.self), !line.contains(0) else {
        throw Malformed(description: "line \(index + 1) of its $SUPERVISOR_OUTPUT is not text")
      }
      guard let equals = text.firstIndex(of: "="), isName(text[..<equals]) else {
        throw Malformed(description: "line \(index + 1) of its $SUPERVISOR_OUTPUT is not KEY=VALUE")
      }
      let key = String(text[..<equals])
      guard !key.hasPrefix("SUPERVISOR_"), !key.hasPrefix("AUTOINIT_") else {
        throw Malformed(
          description: "line \(index + 1) of its $SUPERVISOR_OUTPUT sets \(key), which is ours to set")
      }
      outputs.removeAll { $0.key == key }
      outputs.append(StepOutput(key: key, value: String(text[text.index(after: equals)...])))
    }
    return outputs
  }

  private static func isName(_ text: Substring) -> Bool {
    guard let first = text.utf8.first, !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) else {
      return false
    }
    return text.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
        true
      default: false
      }
    }
  }
}
