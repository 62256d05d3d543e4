/// A project's report, kept in `state_dir` so that a warm start needs no Python.
///
/// It is good as long as nothing changed that the settings were made from: run ID, interpreter, working directory, the
/// variables that name things (`relevant`) and those that the settings looked at, and the files that they imported or
/// opened. A development run ID is the same for every release, so nothing is kept under it. The text may hold passwords of
/// a cache and of the database: it belongs into a file of mode 0600.
public struct DjangoImportCache: Equatable, Sendable {
  /// What the report was made for, beside what is in it.
  public struct Key: Equatable, Sendable {
    /// The release; never a development one.
    public var runID: String
    /// The app's working directory.
    public var directory: String
    /// The interpreter as it was called: `python`, `/venv/bin/python`.
    public var python: String
    /// `framework.settings_module`; empty when not set.
    public var settingsModule: String

    /// A key.
    public init(runID: String, directory: String, python: String, settingsModule: String? = nil) {
      self.runID = runID
      self.directory = directory
      self.python = python
      self.settingsModule = settingsModule ?? ""
    }

    /// The name of the file in `state_dir`: of visible ASCII, without a slash, of bounded length.
    public var fileName: String {
      "django-" + Fingerprint.hexadecimal([runID, directory, python, settingsModule]) + ".import"
    }
  }

  /// A variable and a digest of its value; nil when it was not set.
  struct Variable: Equatable {
    var name: String
    var digest: String?
  }

  /// What it was made for.
  public var key: Key
  /// The report's own bytes.
  public var reportBytes: [UInt8]
  /// The report.
  public var report: DjangoReport
  private var variables: [Variable]

  /// A cache of a fresh report; nil when it must not be kept.
  ///
  /// - Parameters:
  ///   - reportBytes: as the program left them.
  ///   - environment: the one that the program got, name and value.
  public init?(
    key: Key, isDevelopment: Bool, reportBytes: [UInt8], report: DjangoReport,
    environment: [(name: String, value: String)]
  ) {
    guard !isDevelopment, !key.runID.isEmpty, report.isUncacheableBecause == nil else { return nil }
    self.key = key
    self.reportBytes = reportBytes
    self.report = report
    variables = Self.variables(report.variables, environment)
  }

  /// The variables that count in any case: those present with such a name, and those that the settings looked at.
  private static func variables(
    _ looked: [String], _ environment: [(name: String, value: String)]
  ) -> [Variable] {
    let names = Set(environment.map(\.name).filter(isRelevant)).union(looked.filter { !isVolatile($0) })
    let values = Dictionary(environment.map { ($0.name, $0.value) }, uniquingKeysWith: { first, _ in first })
    return names.sorted().map { name in
      Variable(name: name, digest: values[name].map { Fingerprint.hexadecimal([$0]) })
    }
  }

  private static func isRelevant(_ name: String) -> Bool {
    ["DJANGO_SETTINGS_MODULE", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"].contains(name)
      || name.hasPrefix("AUTOINIT_") || name.hasPrefix("LITEFS_")
  }

  /// What differs from container to container, or from start to start, without meaning anything to settings that copy the
  /// whole environment.
  private static func isVolatile(_ name: String) -> Bool {
    ["HOSTNAME", "PWD", "OLDPWD", "SHLVL", "_", "INVOCATION_ID", "JOURNAL_STREAM"].contains(name)
  }

  // MARK: Whether it is still good

  /// Why the report has to be made anew; nil when it is still good.
  ///
  /// - Parameters:
  ///   - environment: the one that the program would get now.
  ///   - stamp: looks a file up, nil when it is not there. It may block where the file system does.
  public func staleBecause(
    key: Key, environment: [(name: String, value: String)],
    stamp: (String) -> DjangoReport.FileStamp.State?
  ) -> String? {
    if key.runID != self.key.runID { return "it is another run ID's" }
    if key != self.key { return "it was made in another directory or by another interpreter" }
    let now = Self.variables(report.variables, environment)
    if now != variables {
      let changed = Set(now.map(\.name)).union(variables.map(\.name)).sorted().first { name in
        now.first { $0.name == name } != variables.first { $0.name == name }
      }
      return "the variable \(Printable.text(changed ?? "")) changed"
    }
    for file in report.files where stamp(file.path) != file.state {
      return "\(Printable.text(file.path)) changed"
    }
    return nil
  }

  // MARK: Text form

  /// Why a text is no cache. None of these is an error: the report is made anew.
  public enum Damage: Error, Equatable, Sendable {
    /// Not one of ours, or cut short.
    case malformed
    /// Written by another version.
    case future
    /// Another run ID's, by its own account.
    case foreign
  }

  private static let title = "supervisor-django-import"
  /// 2: with the password of the default database.
  private static let version = "2"

  /// The file's bytes.
  public func encoded() -> [UInt8] {
    var lines = [
      "\(Self.title) \(Self.version)",
      (["key", key.runID, key.directory, key.python, key.settingsModule].map(ResultLines.escaped))
        .joined(separator: " "),
    ]
    for variable in variables {
      lines.append("variable \(ResultLines.escaped(variable.name)) \(variable.digest ?? "-")")
    }
    lines.append("report \(reportBytes.count) \(Fingerprint.hexadecimal(of: reportBytes))")
    return Array((lines + [""]).joined(separator: "\n").utf8) + reportBytes + Array("end\n".utf8)
  }

  /// Reads a cache for a run ID.
  public static func decode(_ bytes: [UInt8], runID: String) throws(Damage) -> DjangoImportCache {
    var rest = bytes[...]
    func line() -> [String]? {
      guard let end = rest.firstIndex(of: UInt8(ascii: "\n")) else { return nil }
      let fields = ResultLines.read(Array(rest[...end]))?.first
      rest = rest[(end + 1)...]
      return fields
    }
    guard bytes.count <= ResultLines.limit, let head = line(), head.count == 2, head[0] == title else {
      throw .malformed
    }
    guard head[1] == version else { throw .future }
    guard let names = line(), names.count == 5, names[0] == "key" else { throw .malformed }
    guard names[1] == runID else { throw .foreign }
    var variables: [Variable] = []
    while let fields = line() {
      if fields.count == 3, fields[0] == "variable" {
        variables.append(Variable(name: fields[1], digest: fields[2].isEmpty ? nil : fields[2]))
        continue
      }
      guard fields.count == 3, fields[0] == "report", let count = Int(fields[1]), count >= 0,
        count <= rest.count
      else { break }
      let reportBytes = Array(rest.prefix(count))
      guard rest.dropFirst(count).elementsEqual("end\n".utf8),
        Fingerprint.hexadecimal(of: reportBytes) == fields[2],
        let report = try? DjangoReport.decode(reportBytes, ending: "")
      else { break }
      let key = Key(runID: names[1], directory: names[2], python: names[3], settingsModule: names[4])
      guard
        var cache = DjangoImportCache(
          key: key, isDevelopment: false, reportBytes: reportBytes, report: report, environment: [])
      else { break }
      cache.variables = variables
      return cache
    }
    throw .malformed
  }
}

/// FNV-1a of 128 bits: tells changed values apart. It is no secret keeper.
enum Fingerprint {
  static func hexadecimal(_ texts: [String]) -> String {
    // Each with its length, or "a", "bc" would be "ab", "c".
    hexadecimal(of: texts.flatMap { Array("\($0.utf8.count):".utf8) + Array($0.utf8) })
  }

  static func hexadecimal(of bytes: [UInt8]) -> String {
    var hash: UInt128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d
    let prime: UInt128 = 0x0000_0000_0100_0000_0000_0000_0000_013b
    for byte in bytes {
      hash ^= UInt128(byte)
      hash &*= prime
    }
    let digits = String(hash, radix: 16)
    return String(repeating: "0", count: 32 - digits.count) + digits
  }
}
