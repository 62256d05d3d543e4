/// Where the `file` backend keeps things, and where the node phase's marker is.
public struct FileLayout: Equatable, Sendable {
  /// What the name of a release record ends with.
  public static let recordSuffix = ".release"
  /// What the names of a marker and its lock begin with: django-autoinit's own, so that mixed fleets see each other.
  public static let markerPrefix = ".autoinit_node_"
  /// What the name of a marker ends with.
  public static let markerSuffix = ".marker"
  /// What the name of a marker's lock ends with.
  public static let markerLockSuffix = ".lock"

  /// What the directories begin with that are made in `/tmp` for want of another place: the user's number follows.
  public static let fallbackPrefix = "/tmp/supervisor-state-"

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

  /// What has to be made for it, in this order. Of the fallback the directory above too: anybody may have made that
  /// first, and could then put what he likes in place of ours.
  public var stateDirectories: [String] {
    guard stateDirectory.hasPrefix(FileLayout.fallbackPrefix), let slash = stateDirectory.lastIndex(of: "/"),
      slash > stateDirectory.index(stateDirectory.startIndex, offsetBy: 4)
    else { return [stateDirectory] }
    return [String(stateDirectory[..<slash]), stateDirectory]
  }

  /// One lock for all releases: two of them must not migrate at once either.
  public var infrastructureLock: String { stateDirectory + "/infrastructure.lock" }
  /// Whoever holds it is the primary.
  public var leaderLock: String { stateDirectory + "/leader.lock" }
  /// The directory of the release records.
  public var releaseDirectory: String { stateDirectory + "/releases" }
  /// The name of this release's record.
  public var recordName: String { PathComponent.escaped(runID) + FileLayout.recordSuffix }
  /// This release's record.
  public var record: String { releaseDirectory + "/" + recordName }
  /// The name of this release's marker.
  public var markerName: String {
    FileLayout.markerPrefix + PathComponent.escaped(runID) + FileLayout.markerSuffix
  }
  /// This release's marker.
  public var marker: String { markerDirectory + "/" + markerName }
  /// flock on this file excludes django-autoinit's node phase and is excluded by it.
  public var markerLock: String {
    markerDirectory + "/" + FileLayout.markerPrefix + PathComponent.escaped(runID)
      + FileLayout.markerLockSuffix
  }
}
