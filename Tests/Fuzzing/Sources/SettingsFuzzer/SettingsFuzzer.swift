import Settings

/// Reads arbitrary bytes as a settings file. Whatever they are, the outcome is settings or a report: no trap,
/// no access out of bounds, no endless loop.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: start, count: count))
  let variables = ["HOME": "/root", "EMPTY": "", "PORT": "8000"]
  let outcome = SettingsLoader.load(
    bytes: bytes, file: "fuzz.yml", environment: { variables[$0] }, environmentNames: ["SUPERVISOR_PORT"],
    imported: [
      ImportedValue(path: "timeout", text: "30", origin: "import: TIMEOUT"),
      // What LiteFS needs, so that the rest is looked at too.
      ImportedValue(path: "run_id", text: "v1", origin: "import: RUN_ID"),
      ImportedValue(path: "litefs.mode", text: "mount", origin: "import: LITEFS"),
      ImportedValue(path: "litefs.lease.primary", text: "node-1", origin: "import: LITEFS"),
      ImportedValue(path: "environment", text: "{A: b}", origin: "import: ENVIRONMENT"),
    ],
    preset: [
      ImportedValue(path: "infrastructure.steps", text: "[{name: migrate, run: [x]}]", origin: "preset")
    ],
    files: .none)
  switch outcome {
  case .settings(let settings, let notes):
    // Rendering walks over every value; positions must lie in the file.
    precondition(settings.rendered().allSatisfy { !$0.key.isEmpty })
    precondition(notes.allSatisfy { $0.severity != .error })
  case .failure(let problems):
    precondition(problems.contains { $0.severity == .error })
    for case .file(let position) in problems.compactMap(\.origin) {
      precondition(position.line >= 1 && position.line <= count + 1 && position.column >= 1)
    }
    // What reaches a terminal is printable, whatever the file contains.
    precondition(problems.allSatisfy { $0.description.unicodeScalars.allSatisfy { $0.value >= 0x20 } })
  }
  return 0
}
