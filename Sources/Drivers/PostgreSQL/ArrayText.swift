/// Arrays of PostgreSQL in text form (https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO).
enum ArrayText {
  /// `{"a","b\"c"}`.
  static func encode(_ elements: [String]) -> String {
    let quoted = elements.map { element in
      var text = "\""
      for scalar in element.unicodeScalars {
        if scalar == "\"" || scalar == "\\" { text.unicodeScalars.append("\\") }
        text.unicodeScalars.append(scalar)
      }
      return text + "\""
    }
    return "{\(quoted.joined(separator: ","))}"
  }

  /// The elements; nil when it is no array of one dimension.
  static func decode(_ text: String) -> [String]? {
    var rest = text.unicodeScalars[...]
    guard rest.popFirst() == "{", rest.popLast() == "}" else { return nil }
    guard !rest.isEmpty else { return [] }
    var elements: [String] = []
    var element = String.UnicodeScalarView()
    var isQuoted = false
    while let scalar = rest.popFirst() {
      switch scalar {
      case "\\":
        guard let next = rest.popFirst() else { return nil }
        element.append(next)
      case "\"": isQuoted.toggle()
      case "," where !isQuoted:
        elements.append(String(element))
        element = String.UnicodeScalarView()
      case "{" where !isQuoted: return nil
      default: element.append(scalar)
      }
    }
    return isQuoted ? nil : elements + [String(element)]
  }
}
