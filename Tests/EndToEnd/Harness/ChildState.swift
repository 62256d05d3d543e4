/// What the probe's `state` printed.
struct ChildState {
  private var values: [String: String] = [:]
  private(set) var descriptors: [Int32: String] = [:]
  private(set) var arguments: [[UInt8]] = []
  private(set) var environment: [[UInt8]] = []

  init(text: String) throws {
    var isComplete = false
    for line in text.split(separator: "\n") {
      let (key, value) = split(line)
      switch key {
      case "fd":
        let (number, target) = split(Substring(value))
        if let number = Int32(number) { descriptors[number] = target }
      case "arg": arguments.append(bytes(value))
      case "env": environment.append(bytes(value))
      case "limit":
        let (name, limits) = split(Substring(value))
        values["limit " + name] = limits
      case "end": isComplete = true
      default: values[key] = value
      }
    }
    guard isComplete else { throw HarnessError("not a whole state: “\(text.suffix(600))”") }
  }

  /// A value by its key: `pgid`, `cwd`, `limit nofile`, …
  subscript(key: String) -> String? { values[key] }

  func number(_ key: String) throws -> Int32 {
    guard let value = values[key].flatMap({ Int32($0) }) else { throw HarnessError("no \(key) in the state") }
    return value
  }

  var blocked: [Int32] { numbers("blocked") }
  var ignored: [Int32] { numbers("ignored") }

  private func numbers(_ key: String) -> [Int32] {
    (values[key] ?? "?").split(separator: " ").map { Int32($0) ?? -1 }
  }
}

private func split(_ line: Substring) -> (key: String, value: String) {
  guard let space = line.firstIndex(of: " ") else { return (String(line), "") }
  return (String(line[..<space]), String(line[line.index(after: space)...]))
}

private func bytes(_ hexadecimal: String) -> [UInt8] {
  var bytes: [UInt8] = []
  var high: UInt8?
  for character in hexadecimal {
    guard let digit = character.hexDigitValue.map(UInt8.init) else { continue }
    if let first = high {
      bytes.append(first << 4 | digit)
      high = nil
    } else {
      high = digit
    }
  }
  return bytes
}
