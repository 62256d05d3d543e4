// libyaml tells which rule of the grammar was broken. What helps is the likely mistake, which mostly shows in
// the line itself, so these messages are made from both.

extension SourceText {
  /// A parser's failure in our words: where, what, and what to do.
  func advice(for failure: ParserFailure, file: String) -> Diagnostic {
    var line = failure.line + 1
    var column = failure.column + 1
    let message: String
    var suggestion: String?

    switch (failure.stage, failure.problem) {
    case (.memory, _):
      return Diagnostic(.error, at: nil, "there is not enough memory to read \(printable(file))")
    case (.reader, let problem):
      let position = position(ofByte: failure.offset, file: file)
      let (message, suggestion) = unreadable(problem, atByte: failure.offset)
      return Diagnostic(.error, at: .file(position), message, suggestion: suggestion)

    case (_, let problem) where problem.hasPart("tab character"):
      (message, suggestion) = Self.tabAdvice
    case (_, "found character that cannot start any token"):
      let found = character(line: line, column: column).map { String($0) } ?? ""
      if found == "\t" {
        (message, suggestion) = Self.tabAdvice
      } else {
        message = "a value cannot start with '\(printable(found))'"
        suggestion = "put the value in quotes"
      }

    case (_, "mapping values are not allowed in this context"):
      (message, suggestion, line, column) = strayColon(line: line, column: column)
    case (_, "could not find expected ':'"):
      line = failure.contextLine + 1
      column = failure.contextColumn + 1
      let words = self.line(line)
      if let fixed = Self.withSpaceAfterColon(words) {
        message = "there is no space after the ':'"
        suggestion = "write \(quoted(fixed))"
      } else {
        message = "\(quoted(words.trimmed)) is neither a key with a value nor part of one"
        suggestion = "write 'key: value', or indent the line if it continues the one above"
      }

    case (_, "block sequence entries are not allowed in this context"):
      message = "a list item ('- ') cannot stand in the same line as its key"
      suggestion = "start a new line for it, indented, or write the list as [a, b]"
    case (_, "mapping keys are not allowed in this context"):
      message = "a '?' cannot stand here"
      suggestion = "put the value in quotes"

    case (_, "did not find expected key"), (_, "did not find expected '-' indicator"):
      (message, suggestion) = brokenBlock(
        line: line, column: column, start: failure.contextLine + 1, isList: failure.problem.hasPart("'-'"))
    case (_, "did not find expected <document start>"):
      message = "this does not belong to what is above it"
      suggestion =
        column == 1
        ? "give all top-level keys the same indentation; the first one is indented"
        : "is there a closing bracket too many?"

    case (_, "did not find expected ',' or ']'"), (_, "did not find expected ',' or '}'"):
      let bracket = failure.problem.hasPart("]") ? ("[", "]") : ("{", "}")
      if let variable = bareVariable(line: line, column: column) {
        message = "inside \(bracket.0) \(bracket.1) the braces of \(variable) need quotes"
        suggestion = "write \"\(variable)\" with the quotes"
      } else {
        message =
          "the '\(bracket.0)' opened in line \(failure.contextLine + 1), column \(failure.contextColumn + 1) "
          + "is not closed before this, or a ',' is missing"
        suggestion = "close it with '\(bracket.1)', or put a ',' between the items"
      }

    case (_, "found unexpected end of stream"), (_, "found unexpected document indicator"):
      line = failure.contextLine + 1
      column = failure.contextColumn + 1
      message = "a quote is opened here and never closed"
      suggestion = "add the closing quote at the end of the value"
    case (_, "found unknown escape character"):
      message = "this is not an escape that double quotes know"
      suggestion = "write '\\\\' for a backslash, or use single quotes"
    case (_, "did not find expected hexdecimal number"), (_, "found invalid Unicode character escape code"):
      message = "this \\x, \\u or \\U escape is incomplete or not a character"
      suggestion = "write '\\\\' for a backslash, or use single quotes"

    case (_, "did not find expected alphabetic or numeric character"):
      let isAlias = failure.context.hasPart("alias")
      message =
        "'\(isAlias ? "*" : "&")' starts \(isAlias ? "the use of an anchor" : "an anchor"), and no name follows"
      suggestion = "put the value in quotes, as in \"\(isAlias ? "*.yml" : "&")\""
      line = failure.contextLine + 1
      column = failure.contextColumn + 1
    case (_, "did not find expected node content"):
      let found = character(line: line, column: column).map { String($0) } ?? ""
      message =
        found.isEmpty ? "a value is missing here" : "a value cannot start with '\(printable(found))' here"
      suggestion = "put the value in quotes if the character belongs to it"
    case (_, let problem) where problem.hasPart("tag"):
      message = "a value that starts with '!' is read as a tag"
      suggestion = "put the value in quotes"
    case (_, "found incompatible YAML document"):
      message = "this version of YAML is not known"
      suggestion = "remove the %YAML line"
    case (_, "did not find expected comment or line break"):
      message = "nothing but a comment may follow '|' or '>' in its line"
      suggestion = "start the text in the next line, indented"

    default:
      message =
        "this is not valid YAML (\(failure.problem)\(failure.context.isEmpty ? "" : " \(failure.context)"))"
    }
    return Diagnostic(
      .error, at: .file(SourcePosition(file: file, line: line, column: column)), message,
      suggestion: suggestion)
  }

  private static let tabAdvice = ("a tab is used for indentation", "use spaces: YAML allows no tabs there")

  private func unreadable(_ problem: String, atByte offset: Int) -> (String, String?) {
    guard problem.hasPart("control characters") else {
      return ("the text is not valid UTF-8", "save the file as UTF-8")
    }
    guard let byte = byte(at: offset), byte < 0x80 else {
      return (
        "a control character is not allowed here", "remove it, or write it as an escape in double quotes"
      )
    }
    if byte == 0 { return ("there is a NUL byte here", "is this a text file at all?") }
    return (
      "there is a control character (0x\(byte < 16 ? "0" : "")\(String(byte, radix: 16))) here",
      "remove it, or write it as an escape in double quotes"
    )
  }

  /// A ':' where no key can end: mostly a value with ': ' in it, or a wrong indentation.
  private func strayColon(line: Int, column: Int) -> (String, String?, Int, Int) {
    let words = self.line(line)
    if let fixed = Self.withSpaceAfterColon(self.line(line - 1)) {
      return (
        "there is no space after the ':'", "write \(quoted(fixed))", line - 1,
        1 + self.line(line - 1).prefix { $0 == " " }.count
      )
    }
    let before = words.unicodeScalars.prefix(column - 1)
    if before.contains(":") {
      return (
        "a value cannot contain ': ' without quotes", "put the whole value in quotes, or start a new line",
        line,
        column
      )
    }
    return (
      "this key is indented more than the keys above it, which already have values",
      "align it with them", line, 1 + words.prefix { $0 == " " }.count
    )
  }

  private func brokenBlock(line: Int, column: Int, start: Int, isList: Bool) -> (String, String?) {
    let words = self.line(line)
    let before = words.unicodeScalars.prefix(column - 1)
    guard before.allSatisfy({ $0 == " " }) else {
      return (
        "something follows a value that was already complete",
        "if a quote or bracket belongs to the value, put the whole value in quotes ('' inside single quotes is one ')"
      )
    }
    let here = words.unicodeScalars.dropFirst(column - 1)
    if isList {
      return (
        "this line is not an item of the list that starts in line \(start)",
        "start it with '- ' under the other items, or align it with the keys of its own item"
      )
    }
    if here.first == ":" { return ("a key is missing before ':'", "write 'key: value'") }
    if here.starts(with: "- ".unicodeScalars) {
      return ("a list item stands among the keys of a map", "indent the list under its key")
    }
    return (
      "the indentation fits none of the lines above", "align this key with the keys it belongs to"
    )
  }

  /// The `${…}` around a position where a flow collection stumbled over its braces.
  private func bareVariable(line: Int, column: Int) -> String? {
    let scalars = Array(line == 0 ? "".unicodeScalars : self.line(line).unicodeScalars)
    let brace = column - 1
    guard scalars.indices.contains(brace), brace > 0, scalars[brace] == "{", scalars[brace - 1] == "$",
      let end = scalars[brace...].firstIndex(of: "}")
    else { return nil }
    var text = String.UnicodeScalarView()
    text.append(contentsOf: scalars[(brace - 1)...end])
    return printable(String(text))
  }

  /// `key: value` when the line is `key:value` with a plausible key.
  private static func withSpaceAfterColon(_ line: String) -> String? {
    let words = line.trimmed
    guard let colon = words.firstIndex(of: ":"), colon != words.startIndex else { return nil }
    let key = words[..<colon]
    let rest = words[words.index(after: colon)...]
    guard let first = rest.first, first != " ", first != "/", !String(rest).hasPart(": "),
      key.unicodeScalars.allSatisfy({ $0 == "_" || $0.properties.isAlphabetic && $0.isASCII })
    else { return nil }
    return "\(key): \(rest)"
  }
}

extension String {
  /// Without spaces and tabs at both ends.
  var trimmed: String {
    let isBlank: (Character) -> Bool = { $0 == " " || $0 == "\t" }
    guard let first = firstIndex(where: { !isBlank($0) }), let last = lastIndex(where: { !isBlank($0) })
    else {
      return ""
    }
    return String(self[first...last])
  }
}
