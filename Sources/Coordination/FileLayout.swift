/// Where the `file` backend keeps things, and where the node phase's marker is.
public struct FileLayout: Equatable, Sendable {
  /// `state_dir`.
  public var stateDirectory: String
  /// `node.marker_dir`.
  public var markerDirectory: String
  /// The release.
  public var runID: String

  /// The layout for one release.
  public init(stateDirectory: String, markerDirectory: String, runID: String) {
    self.stateDirectory = stateDirectory
    self.markerDirectory = markerDirectory
    self.runID = runID
  }

  /// One lock for all releases: two of them must not migrate at once either.
  public var infrastructureLock: String { stateDirectory + "/infrastructure.lock" }
  /// The directory of the release records.
  public var releaseDirectory: String { stateDirectory + "/releases" }
  /// This release's record.
  public var record: String { releaseDirectory + "/" + PathComponent.escaped(runID) + ".release" }
  /// django-autoinit's own names, so that mixed fleets see each other.
  public var marker: String {
    markerDirectory + "/.autoinit_node_" + PathComponent.escaped(runID) + ".marker"
  }
  /// flock on this file excludes django-autoinit's node phase and is excluded by it.
  public var markerLock: String {
    markerDirectory + "/.autoinit_node_" + PathComponent.escaped(runID) + ".lock"
  }
}
