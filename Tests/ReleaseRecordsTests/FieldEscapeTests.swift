import ReleaseRecords
import Testing

struct FieldEscapeTests {
  @Test(arguments: [
    ("migrate", "migrate"), ("", "-"), ("-", "%2D"), ("--", "--"), ("a b", "a%20b"), ("a\nb", "a%0Ab"),
    ("%", "%25"), ("\u{0}\u{7F}", "%00%7F"), ("é", "é"), ("e\u{301}", "e\u{301}"),
  ])
  func `a text becomes one field, and comes back`(text: String, field: String) {
    #expect(FieldEscape.escaped(text) == field)
    #expect(FieldEscape.unescaped(field).map { Array($0.utf8) } == Array(text.utf8))
  }

  @Test(arguments: ["%", "%4", "a%", "%zz", "a%2", "%-1", "%+1", "% 1"])
  func `what is none of ours is refused`(field: String) {
    #expect(FieldEscape.unescaped(field) == nil)
  }
}
