// What needs what, among the steps of a phase: names that nothing has, and circles.

extension Assembly {
  /// Checks the `needs` of a phase's steps.
  mutating func checkGraph(_ phase: Section) {
    var graph = StepGraph()
    for index in 0..<(resolution.counts[phase.key("steps")] ?? 0) {
      let section = phase.item("steps", index)
      let name: String? =
        if case .text(let text)? = resolution.values[section.key("name")]?.value { text } else { nil }
      graph.add(name)
    }
    for index in graph.names.indices {
      let section = phase.item("steps", index)
      let path = section.key("needs")
      guard let given = resolution.values[path], case .texts(let needs) = given.value else { continue }
      var seen: Set<String> = []
      for (item, need) in needs.enumerated() {
        let place = given.items.indices.contains(item) ? given.items[item] : given.origin
        let itemPath = "\(path)[\(item)]"
        if need == graph.names[index] {
          problem(itemPath, at: place, "the step \(quoted(need)) needs itself", "remove it from its needs")
        } else if !seen.insert(need).inserted {
          problem(itemPath, at: place, "\(quoted(need)) stands here twice", "remove one of the two")
        } else if let other = graph.positions[need] {
          graph.edges[index].append(StepGraph.Edge(to: other, path: itemPath, origin: place))
        } else {
          problem(
            itemPath, at: place, "no step of this phase is called \(quoted(need))",
            suggestion(for: need, of: phase, among: graph))
        }
      }
    }
    for circle in graph.circles() {
      problem(
        circle.edge.path, at: circle.edge.origin, "the steps need each other in a circle: \(circle.text)",
        "remove one of these needs")
    }
  }

  private func suggestion(for need: String, of phase: Section, among graph: StepGraph) -> String? {
    // Each suggestion looks at every name, and a hostile file could have very many of both.
    guard graph.positions.count <= 500 else { return nil }
    if let near = nearest(to: need, among: graph.positions.keys.sorted()) { return "did you mean \(near)?" }
    let other = phase.path == "node" ? "infrastructure" : "node"
    let others = 0..<(resolution.counts["\(other).steps"] ?? 0)
    if others.contains(where: { resolution.values["\(other).steps[\($0)].name"]?.value == .text(need) }) {
      return other == "node"
        ? "that is a node step, and those run after all infrastructure steps"
        : "remove it: that is an infrastructure step, and those are done before any node step"
    }
    let names = graph.positions.keys.sorted()
    return names.count <= 20 ? "the steps are \(names.map { printable($0) }.joined(separator: ", "))" : nil
  }
}

/// The steps of a phase by index, and which needs which.
struct StepGraph {
  /// That one step needs another, and where that is said.
  struct Edge {
    var to: Int
    var path: String
    var origin: Origin
  }

  /// Steps that need each other.
  struct Circle {
    /// `a → b → a`
    var text: String
    /// The need that leads from the first to the second.
    var edge: Edge
  }

  /// nil: a step without a usable name.
  private(set) var names: [String?] = []
  /// The first step of each name.
  private(set) var positions: [String: Int] = [:]
  var edges: [[Edge]] = []

  mutating func add(_ name: String?) {
    if let name, positions[name] == nil { positions[name] = names.count }
    names.append(name)
    edges.append([])
  }

  /// One circle for each need that closes one, each beginning with the step that stands first in the file.
  ///
  /// A depth-first search with a stack of its own: a file may have more steps than calls can be nested.
  func circles() -> [Circle] {
    enum Mark { case new, open, done }
    var marks = [Mark](repeating: .new, count: names.count)
    var found: [Circle] = []
    for root in names.indices where marks[root] == .new {
      var trail: [(step: Int, next: Int)] = [(root, 0)]
      marks[root] = .open
      while let last = trail.last {
        guard last.next < edges[last.step].count else {
          marks[last.step] = .done
          trail.removeLast()
          continue
        }
        let edge = edges[last.step][last.next]
        trail[trail.count - 1].next += 1
        switch marks[edge.to] {
        case .done: continue
        case .new:
          marks[edge.to] = .open
          trail.append((edge.to, 0))
        case .open:
          // Everything from there to the end of the trail is the circle; `next - 1` is the need each one went by.
          guard let start = trail.firstIndex(where: { $0.step == edge.to }) else { continue }
          found.append(circle(trail[start...].map { edges[$0.step][$0.next - 1] }))
        }
      }
    }
    return found
  }

  /// - Parameter needs: each leads to the step that has the next one; the last leads to that of the first.
  private func circle(_ needs: [Edge]) -> Circle {
    let first = needs.indices.min { needs[$0].to < needs[$1].to } ?? 0
    let steps = needs.indices.map { needs[(first + $0) % needs.count].to }
    let shown = steps.prefix(20).map { printable(names[$0] ?? "") } + (steps.count > 20 ? ["…"] : [])
    let closing = steps.first.map { [printable(names[$0] ?? "")] } ?? []
    return Circle(
      text: (shown + closing).joined(separator: " → "), edge: needs[(first + 1) % needs.count])
  }
}
