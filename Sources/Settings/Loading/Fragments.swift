/// Merges the files that `include` names into the settings file: maps are merged, steps and dependencies are
/// appended, and nothing may be set twice, because which of the two counts would be a guess.
struct Fragments {
  /// More are taken for a mistaken pattern.
  static let maximumCount = 200

  let access: FileAccess
  private(set) var problems: [Diagnostic] = []
  /// Whether a fragment could not be read at all: then checks across keys would only mislead.
  private(set) var isBroken = false
  private var nodeCount = 0

  init(access: FileAccess) {
    self.access = access
  }

  /// Merges every fragment into `root`.
  ///
  /// - Parameters:
  ///   - patterns: globs relative to the file, with where they stand.
  ///   - file: the settings file's name.
  mutating func merge(_ patterns: [(text: String, origin: Origin)], into root: YAMLNode, file: String)
    -> YAMLNode
  {
    let directory = file.lastIndex(of: "/").map { String(file[...$0]) } ?? ""
    var result = root
    var seen: Set<String> = [file]
    nodeCount = root.expandedCount
    for (pattern, origin) in patterns {
      let whole = pattern.hasPrefix("/") ? pattern : directory + Self.withoutDot(pattern)
      let isPattern = FileAccess.isPattern(whole)
      let paths = isPattern ? access.matches(whole) : [whole]
      if paths.isEmpty {
        problems.append(
          Diagnostic(
            .note, at: origin, key: "include", "no file matches \(quoted(pattern))",
            suggestion: "patterns count from the directory of the settings file"))
      }
      for path in paths where seen.insert(path).inserted {
        guard seen.count <= Self.maximumCount + 1 else {
          fail(origin, "more than \(Self.maximumCount) files are included", "is the pattern right?")
          return result
        }
        if let fragment = read(path, origin) { result = merged(result, with: fragment, path: "") }
      }
    }
    return result
  }

  /// `./conf.d/*.yml` without its `./`.
  private static func withoutDot(_ path: String) -> String {
    path.hasPrefix("./") ? String(path.dropFirst(2)) : path
  }

  private mutating func fail(
    _ origin: Origin, _ message: String, _ suggestion: String?, key: String = "include"
  ) {
    problems.append(Diagnostic(.error, at: origin, key: key, message, suggestion: suggestion))
  }

  /// A fragment's map, without what may not be in it; nil after an error.
  private mutating func read(_ path: String, _ origin: Origin) -> YAMLNode? {
    let bytes: [UInt8]
    switch access.contents(path) {
    case .success(let content): bytes = content
    case .failure(let failure):
      isBroken = true
      fail(
        origin, "the fragment \(printable(path, limit: 300)) \(failure.message)",
        failure.isMissing ? "a path counts from the directory of the settings file" : nil)
      return nil
    }
    var fragment: YAMLNode
    do throws(Diagnostic) {
      guard let root = try YAMLReader.read(bytes, file: path) else { return nil }
      fragment = root
    } catch {
      isBroken = true
      problems.append(error)
      return nil
    }
    guard case .mapping(let entries) = fragment.content else {
      fail(
        .at(fragment.position), "the fragment is \(fragment.kind) instead of a map of settings",
        "write 'key: value' lines", key: "")
      return nil
    }
    // Each file is bounded by the reader; all of them together are too.
    nodeCount += fragment.expandedCount
    guard nodeCount <= YAMLReader.maximumNodes else {
      fail(
        .at(fragment.position),
        "with this fragment, there are more than \(YAMLReader.maximumNodes) values, aliases written out",
        "no settings need that: is this the right file?", key: "")
      return nil
    }
    for entry in entries where entry.key == "include" {
      fail(
        .at(entry.position), "a fragment cannot include others",
        "name all fragments in the include of the settings file")
    }
    fragment.content = .mapping(entries.filter { $0.key != "include" })
    return fragment
  }

  /// Lists that every fragment may add to.
  private static let growing: Set<String> = ["infrastructure.steps", "node.steps", "wait_for"]

  private mutating func merged(_ left: YAMLNode, with right: YAMLNode, path: String) -> YAMLNode {
    if right.isNull { return left }
    if left.isNull { return right }
    var result = left
    switch (left.content, right.content) {
    case (.mapping(var entries), .mapping(let others)):
      var indices = Dictionary(
        entries.indices.map { (entries[$0].key, $0) }, uniquingKeysWith: { first, _ in first })
      for other in others {
        let childPath = path.isEmpty ? other.key : "\(path).\(other.key)"
        if let index = indices[other.key] {
          entries[index].value = merged(entries[index].value, with: other.value, path: childPath)
        } else {
          indices[other.key] = entries.count
          entries.append(other)
        }
      }
      result.content = .mapping(entries)
    case (.sequence(let items), .sequence(let others)) where Self.growing.contains(path):
      result.content = .sequence(items + others)
    default:
      fail(
        .at(right.position), "is set at \(left.position) already",
        "keep one of the two: which one counts would be a guess", key: printable(path, limit: 120))
    }
    return result
  }
}
