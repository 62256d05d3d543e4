import ReleaseRecords

// What decisions ask of a record.
extension ReleaseRecord {
  /// Whether this step, with this definition, is recorded done.
  public func isDone(_ step: String, hash: String) -> Bool {
    entries.contains { $0.step == step && $0.hash == hash }
  }

  /// What is recorded done of this step, with this definition, while the step itself is not.
  public func parts(of step: String, hash: String) -> [String] {
    parts.filter { $0.step == step && $0.hash == hash }.map(\.name)
  }

  /// Everything that steps gave to later ones, in the order in which they were done.
  public var outputs: [StepOutput] { entries.flatMap(\.outputs) }
}
