/// A duration as Go writes it (300ms, 1h30m), in seconds. A bare number is none.
package func parseDuration(_ text: String) -> Double? {
  let units = ["ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600]
  var rest = Substring(text)
  let negative = rest.first == "-"
  if negative || rest.first == "+" { rest = rest.dropFirst() }
  if rest == "0" { return 0 }
  var seconds = 0.0
  guard !rest.isEmpty else { return nil }
  while !rest.isEmpty {
    let digits = rest.prefix { $0.isNumber || $0 == "." }
    rest = rest.dropFirst(digits.count)
    let unit = rest.prefix { !$0.isNumber && $0 != "." }
    rest = rest.dropFirst(unit.count)
    guard let number = Double(digits), let factor = units[String(unit)] else { return nil }
    seconds += number * factor
  }
  return negative ? -seconds : seconds
}
