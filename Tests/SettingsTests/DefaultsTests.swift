import Testing

@testable import Settings

@Suite struct DefaultsTests {
  @Test(arguments: [
    "", "# nothing\n", "---\n", "~\n", "app:\nservices:\n", "app: {}\nservices: {}\nnode: {steps: []}\n",
  ])
  func nothingGivesTheDefaults(_ text: String) throws {
    let settings = try settings(text)
    #expect(settings.runID == nil)
    #expect(settings.runIDOrigin == .default)
    #expect(settings.timeout == .seconds(300))
    #expect(settings.maximumWait == nil)
    #expect(settings.stopTimeout == .milliseconds(9500))
    #expect(settings.runDirectory == nil)
    #expect(settings.stateDirectory == nil)
    #expect(settings.environment.isEmpty)
    #expect(!settings.clearEnvironment)
    #expect(settings.coordination.lock == .file)
    #expect(settings.coordination.readiness == .file)
    #expect(settings.coordination.retryAfter == .seconds(10))
    #expect(settings.coordination.pollInterval == .seconds(1))
    #expect(settings.infrastructure == InfrastructureSettings(steps: [], parallelism: 1, onFailure: .finish))
    #expect(settings.node == NodeSettings(steps: [], markerDirectory: "/tmp/autoinit", fatalOnError: false))
    #expect(settings.services.isEmpty)
    #expect(settings.health.listen.address == .loopback4)
    #expect(settings.health.listen.port == 8686)
    #expect(!settings.health.listen.isAllInterfaces)
    #expect(!settings.health.listenWasSet)
    #expect(settings.health.drainDelay == .zero)
    #expect(settings.log == LogSettings(format: .text, level: .info, timestamps: true))
    #expect(settings.dependencies.isEmpty)
    #expect(settings.framework == FrameworkSettings(name: .auto))
    #expect(settings.coordination.takeoverDelay == .seconds(3))
    #expect(settings.coordination.project == nil)
    #expect(settings.hooks == HookSettings())
    let app = settings.app
    #expect(app.name == "app")
    #expect(app.command == nil)
    #expect(app.restart == .never)
    #expect(
      app.backoff
        == BackoffSettings(
          initial: .milliseconds(500), maximum: .seconds(30), factor: 2, jitter: 0.1, resetAfter: .seconds(60)
        ))
    #expect(app.startLimit == StartLimit(count: 10, within: .seconds(600)))
    #expect(app.onFailure == .stopAll)
    #expect(app.successCodes == [0])
    #expect(app.stop == StopSettings(signal: 15, timeout: .seconds(30), kill: .group))
    #expect(app.signals.isEmpty)
    #expect(app.healthCheck == nil)
    #expect(app.start == .withApp)
    #expect(app.groups == nil)
    #expect(app.umask == nil)
  }
}
