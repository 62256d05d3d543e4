import AgentProtocol
import LiteFS
import Phases
import Processes
import Settings

extension Planner {
  /// LiteFS, where this supervisor runs it.
  mutating func addLiteFS(_ plan: inout LifecyclePlan, _ launch: inout LaunchPlan) {
    guard let litefs = settings.litefs else { return }
    guard scope == .life else {
      problems.append(
        "litefs.mode is \(litefs.mode.rawValue): the phases run within `supervisor run`, which has the mount, and not "
          + "by themselves")
      return
    }
    let node = LiteFSConfiguration.Node(
      hostName: context.hostName,
      project: ProjectName(settings, workingDirectory: context.directory?.bytes ?? [UInt8(ascii: "/")]).value,
      settings: settings, isOther: LiteFSUsers.isOther)
    guard let configuration = LiteFSConfiguration(litefs, node: node) else { return }
    for finding in configuration.findings where finding.severity == .error { problems.append("\(finding)") }
    let file = runDirectory + "/litefs.yml"
    var environment = context.environment
    for name in LiteFSInvocation.withheld { environment.remove(name) }
    var image = ProcessImage(
      arguments: [RawString(litefs.binaryPath)]
        + LiteFSInvocation.arguments(file: file).map { RawString($0) },
      environment: environment)
    image.standardInput = .null
    image.directory = "/"
    // It unmounts at TERM, where it can.
    image.deathSignal = .terminate
    let address = litefs.httpAddress
    launch.litefs = LiteFSLaunch(
      image: image, file: file, bytes: configuration.bytes,
      place: LiteFSPlace(
        mountPath: litefs.mountPath, dataPath: litefs.dataPath,
        host: (address.isAllInterfaces ? .loopback4 : address.address.reachableHere).text, port: address.port),
      rules: RoleTracker.Rules(
        nodeName: configuration.nodeName, reconnectDelay: configuration.reconnectDelay))
    var rules = LiteFSRules()
    rules.patience = settings.timeout
    rules.waitsFor =
      switch litefs.leaseType {
      case .static: "the primary \(litefs.primary ?? "") (litefs.lease.primary)"
      case .consul: "a primary, by the lease in Consul"
      }
    plan.litefs = LifecyclePlan.LiteFS(rules: rules)
  }
}
