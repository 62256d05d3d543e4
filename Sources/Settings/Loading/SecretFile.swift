/// The `_file` twins of secrets.
enum SecretFile {
  /// A secret as a file has it: one line end after it is the editor's, not the secret's.
  static func read(_ path: String, _ access: FileAccess) throws(ValueProblem) -> String {
    let subject = "the file \(printable(path, limit: 300))"
    var bytes: [UInt8]
    switch access.contents(path) {
    case .success(let content): bytes = content
    case .failure(let failure):
      throw ValueProblem(
        "\(subject) \(failure.message)",
        failure.isMissing ? "check the path, and that the secret is mounted" : nil)
    }
    guard bytes.count <= 64 << 10 else {
      throw ValueProblem("\(subject) is larger than 64 KiB", "is it the right file?")
    }
    if bytes.last == 0x0A { bytes.removeLast() }
    if bytes.last == 0x0D { bytes.removeLast() }
    guard !bytes.isEmpty else { throw ValueProblem("\(subject) is empty", "write the secret into it") }
    guard !bytes.contains(0), let text = String(validating: bytes, as: UTF8.self) else {
      throw ValueProblem("\(subject) is not text", "it must be UTF-8 without NUL")
    }
    return text
  }
}

extension Resolver {
  /// Reads the secrets that are given by a file. Nobody may name both: which one counts would be a guess. A twin
  /// from a source that comes before the other's, such as a variable before the file, replaces it.
  mutating func readSecrets(_ access: FileAccess) {
    for key in KeyTable.keys where key.isSecret {
      let filePath = "\(key.path)_file"
      guard let file = secretFiles[filePath] else { continue }
      if let direct = resolution.mentioned[key.path] {
        if direct.precedence < file.origin.precedence { continue }
        if direct.precedence == file.origin.precedence {
          report(
            ValueProblem("\(key.path) is set too, at \(direct)", "keep one of the two"), at: file.origin,
            path: filePath)
          continue
        }
      }
      do throws(ValueProblem) {
        let text = try SecretFile.read(file.path, access)
        if let value = try key.type.parseScalar(text) { set(value, secret: text, key, origin: file.origin) }
      } catch {
        report(error, at: file.origin, path: filePath)
      }
    }
  }
}
