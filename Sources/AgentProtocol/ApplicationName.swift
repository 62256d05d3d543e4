/// How sessions that belong to a release are called in pg_stat_activity: `supervisor/<project>/<run>/<step>`.
///
/// PostgreSQL keeps 63 bytes of it and makes question marks of what is not printable ASCII, so each part is cut to its
/// share of them; a part that is cut, or escaped, ends in a hash, so that two of them are not taken for one.
public struct ApplicationName: Sendable, Equatable {
  /// What all of them begin with.
  public static let family = "supervisor/"

  /// The whole name.
  public var text: String

  /// The name of a step's sessions, which its commands get as `PGAPPNAME`.
  public init(project: String, run: String, step: String) {
    text = Self.prefix(project: project, run: run) + Self.short(step, 16)
  }

  /// The name of our own sessions. The empty place of the step says that none runs there: these are never waited for,
  /// and never terminated.
  public init(project: String, run: String, purpose: String) {
    text = Self.prefix(project: project, run: run) + "/" + Self.short(purpose, 15)
  }

  /// What the names of a release's sessions begin with.
  public static func prefix(project: String, run: String) -> String {
    // 11 and 2 slashes, 16 and 18 leave 16 for the step.
    family + "\(short(project, 16))/\(short(run, 18))/"
  }

  private static func short(_ part: String, _ limit: Int) -> String {
    var plain = ""
    for byte in part.utf8 {
      let isPlain = byte > 0x20 && byte < 0x7F && byte != UInt8(ascii: "/")
      plain.unicodeScalars.append(isPlain ? Unicode.Scalar(byte) : "_")
    }
    if plain == part, plain.utf8.count <= limit { return plain }
    // FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv), folded to 24 bits.
    var hash: UInt32 = 2_166_136_261
    for byte in part.utf8 { hash = (hash ^ UInt32(byte)) &* 16_777_619 }
    let folded = String((hash >> 24) ^ (hash & 0xFF_FFFF), radix: 16)
    let digits = String(repeating: "0", count: 6 - folded.count) + folded
    return plain.prefix(limit - 7) + "~" + digits
  }
}
