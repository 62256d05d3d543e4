/// The table of keys as a tree, to walk along a file.
struct Schema {
  /// The row, when the path ends here.
  var key: KeyDescription?
  /// What may stand below, by name.
  var children: [String: Schema] = [:]
  /// The names of `children` in the order of the table.
  var order: [String] = []
  /// What stands behind any name (`services.*`); an array, because a struct cannot hold itself.
  var wildcard: [Schema] = []
  /// What stands in the items of a list (`steps[]`).
  var item: [Schema] = []

  static let root: Schema = {
    var root = Schema()
    for key in KeyTable.keys {
      root.insert(key, along: key.path.split(separator: ".").map { String($0) }[...])
    }
    return root
  }()

  private mutating func insert(_ key: KeyDescription, along path: ArraySlice<String>) {
    guard let name = path.first else {
      self.key = key
      return
    }
    let rest = path.dropFirst()
    let child = name.hasSuffix("[]") ? String(name.dropLast(2)) : name
    if child != "*", children[child] == nil { order.append(child) }
    if name == "*" {
      if wildcard.isEmpty { wildcard = [Schema()] }
      wildcard[0].insert(key, along: rest)
    } else if name.hasSuffix("[]") {
      var list = children[child] ?? Schema()
      if list.item.isEmpty { list.item = [Schema()] }
      list.item[0].insert(key, along: rest)
      children[child] = list
    } else {
      children[name, default: Schema()].insert(key, along: rest)
    }
  }

  /// The work that everything from here on waits for; nil when something can be used now.
  var pendingWork: String? {
    if let key {
      if case .later(let work) = key.availability { return work }
      // A switch that can only be off: it belongs to the work it cannot be switched to.
      if case .choice(let words, let later, _) = key.type, words == [key.defaultText],
        let work = later.values.first, later.values.allSatisfy({ $0 == work })
      {
        return work
      }
      return nil
    }
    let works = (children.values + wildcard + item).map(\.pendingWork)
    guard let first = works.first, let work = first, works.allSatisfy({ $0 == work }) else { return nil }
    return work
  }
}
