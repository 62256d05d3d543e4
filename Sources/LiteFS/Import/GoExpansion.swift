/// What LiteFS expands in the text of its file: `$NAME`, `${NAME}`, and in braces `NAME == 'x'`, `NAME != OTHER`. There
/// is no escape in it.
enum GoExpansion {
  /// A comparison, which becomes `true` or `false`.
  struct Comparison: Equatable {
    var name: String
    var isEquality: Bool
    /// A literal, or the name of another variable.
    var other: String
    var isLiteral: Bool
  }

  enum Piece: Equatable {
    case literal(String)
    case variable(String)
    case comparison(Comparison)
    /// Braces with something else in them, which becomes nothing.
    case nothing(String)
  }

  static func pieces(of text: String) -> [Piece] {
    var pieces: [Piece] = []
    var literal = ""
    var rest = text[...]
    func flush() {
      if !literal.isEmpty { pieces.append(.literal(literal)) }
      literal = ""
    }
    while let character = rest.popFirst() {
      guard character == "$" else {
        literal.append(character)
        continue
      }
      if rest.first == "{" {
        guard let end = rest.firstIndex(of: "}") else {
          literal.append("$")
          continue
        }
        flush()
        pieces.append(inBraces(String(rest[rest.index(after: rest.startIndex)..<end])))
        rest = rest[rest.index(after: end)...]
      } else {
        let name = rest.prefix { isNameCharacter($0) }
        // A dollar that nothing follows stays; one before a digit or a sign takes it along.
        if let next = rest.first, "*#$@!?-0123456789".contains(next) {
          flush()
          pieces.append(.nothing("$\(next)"))
          rest = rest.dropFirst()
        } else if name.isEmpty {
          literal.append("$")
        } else {
          flush()
          pieces.append(.variable(String(name)))
          rest = rest.dropFirst(name.count)
        }
      }
    }
    flush()
    return pieces
  }

  private static func isNameCharacter(_ character: Character) -> Bool {
    character == "_" || (character.isASCII && (character.isLetter || character.isNumber))
  }

  private static func inBraces(_ text: String) -> Piece {
    let name = text.trimmingBlanks
    if !name.isEmpty, name.allSatisfy(isNameCharacter) { return .variable(name) }
    for (sign, isEquality) in [("==", true), ("!=", false)] {
      guard let range = text.firstRange(of: sign) else { continue }
      let left = String(text[..<range.lowerBound]).trimmingBlanks
      let right = String(text[range.upperBound...]).trimmingBlanks
      guard !left.isEmpty, left.allSatisfy(isNameCharacter) else { continue }
      if right.count >= 2, let quote = right.first, quote == "'" || quote == "\"", right.last == quote {
        return .comparison(
          Comparison(
            name: left, isEquality: isEquality, other: String(right.dropFirst().dropLast()), isLiteral: true))
      }
      if !right.isEmpty, right.allSatisfy(isNameCharacter) {
        return .comparison(Comparison(name: left, isEquality: isEquality, other: right, isLiteral: false))
      }
    }
    return .nothing("${\(name)}")
  }
}

extension String {
  var trimmingBlanks: String {
    var text = self[...]
    while text.first == " " || text.first == "\t" { text = text.dropFirst() }
    while text.last == " " || text.last == "\t" { text = text.dropLast() }
    return String(text)
  }
}
