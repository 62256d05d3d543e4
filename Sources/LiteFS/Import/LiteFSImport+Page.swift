import Settings

extension LiteFSImport {
  /// A settings file that says the same, with the rest as comments.
  ///
  /// - Parameter file: what it was made from.
  public func page(of file: String) -> String {
    var lines = [
      "# From \(Self.comment(file)). LiteFS is started by supervisor, which writes its file itself."
    ]
    for finding in findings.sorted(by: Self.isBefore) { lines.append("# " + Self.comment("\(finding)")) }
    lines += ["", "# Replicas wait for the release that the primary has prepared: say which one this is."]
    lines += ["# run_id: ${RELEASE_ID}", ""]
    lines += settings.lines()
    if let proxy {
      lines += ["", "# LiteFS's proxy was:"]
      lines += ConfigurationValue.map([ConfigurationValue.Entry("proxy", proxy)]).lines().map {
        "# \(Self.comment($0))"
      }
    }
    lines += execLines
    return lines.joined(separator: "\n") + "\n"
  }

  /// What LiteFS ran, as steps and app: as comments, since somebody must look at it.
  private var execLines: [String] {
    guard let app = commands.last else { return [] }
    var lines = ["", "# exec becomes this. Take the '#' away where it is right:"]
    if commands.count > 1 {
      lines += ["# infrastructure:", "#   steps:"]
      for (index, command) in commands.dropLast().enumerated() {
        lines.append("#     - name: exec-\(index + 1)")
        lines.append(
          "#       run: \(Self.flow(command.arguments))   # "
            + (command.isForCandidates
              ? "ran on every candidate; a step runs once, on the primary"
              : "ran on every node; a step runs once, on the primary (node.steps: on every node)"))
        if index > 0 { lines.append("#       needs: [exec-\(index)]") }
      }
    }
    lines += [
      "# app:", "#   command: \(Self.flow(app.arguments))   # or behind --, as in: supervisor run -- …",
    ]
    if app.isForCandidates {
      lines.append("#   # ran on candidates alone; a service with 'role: primary' runs on the primary alone")
    }
    return lines
  }

  private static func flow(_ arguments: [String]) -> String {
    "[" + arguments.map { comment(ConfigurationValue.quoted($0)) }.joined(separator: ", ") + "]"
  }

  /// A text that cannot leave its comment.
  private static func comment(_ text: String) -> String {
    String(
      String.UnicodeScalarView(
        text.unicodeScalars.map { scalar in
          scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
            || (0x2028...0x202E).contains(scalar.value)
            ? "?" : scalar
        }))
  }

  private static func isBefore(_ one: Diagnostic, _ other: Diagnostic) -> Bool {
    guard case .file(let here)? = one.origin, case .file(let there)? = other.origin else { return false }
    return (here.line, here.column) < (there.line, there.column)
  }
}
