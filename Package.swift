// swift-tools-version: 6.1
import PackageDescription

// The agent's libraries take minutes to build. What looks at PID 1 alone (the sanitizers) leaves them out.
let hasAgent = Context.environment["SUPERVISOR_WITHOUT_AGENT"] == nil

let agentProducts: [Product] =
  hasAgent ? [.executable(name: "supervisor-agent", targets: ["supervisor-agent"])] : []

let agentDependencies: [Package.Dependency] =
  hasAgent
  ? [
    .package(url: "https://github.com/apple/swift-nio", exact: "2.101.2"),
    .package(url: "https://github.com/apple/swift-nio-ssl", exact: "2.37.6"),
  ] : []

// What may block, and what needs libraries, in a process of its own; and the tests that drive both programs.
let agentTargets: [Target] =
  hasAgent
  ? [
    .executableTarget(name: "supervisor-agent", dependencies: ["Agent"]),
    .target(
      name: "Agent",
      dependencies: [
        "PostgreSQLDriver", "RedisDriver", "LiteFSDriver", "ProbeDriver", "AgentProtocol", "ReleaseRecords",
        "EventLoop", "CLinux",
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
      ]),
    .target(
      name: "ProbeDriver",
      dependencies: [
        "Blocking", "AgentProtocol", "CSQLite",
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "NIOHTTP1", package: "swift-nio"),
        .product(name: "NIOSSL", package: "swift-nio-ssl"),
      ],
      path: "Sources/Drivers/Probe"),
    .target(
      name: "PostgreSQLDriver",
      dependencies: [
        "Blocking", "AgentProtocol", "ReleaseRecords", "EventLoop", "CPostgreSQL",
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
      ],
      path: "Sources/Drivers/PostgreSQL"),
    .testTarget(
      name: "PostgreSQLDriverTests",
      dependencies: [
        "PostgreSQLDriver", "AgentProtocol", "ReleaseRecords", "EventLoop", "TestSupport",
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
      ]),
    .target(
      name: "RedisDriver",
      dependencies: [
        "EventLoop",
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "NIOSSL", package: "swift-nio-ssl"),
      ],
      path: "Sources/Drivers/Redis"),
    .testTarget(
      name: "RedisDriverTests",
      dependencies: [
        "RedisDriver", "EventLoop", "TestSupport",
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
      ]),
    .target(
      name: "LiteFSDriver",
      dependencies: [
        "Blocking", "AgentProtocol", "EventLoop", "CLinux",
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "NIOHTTP1", package: "swift-nio"),
      ],
      path: "Sources/Drivers/LiteFS"),
    .testTarget(
      name: "LiteFSDriverTests",
      dependencies: [
        "LiteFSDriver", "AgentProtocol", "EventLoop", "TestSupport",
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
      ]),
    .target(name: "Blocking", dependencies: [.product(name: "NIOCore", package: "swift-nio")]),
    .testTarget(
      name: "AgentTests",
      dependencies: [
        "supervisor-agent", "Agent", "AgentProtocol", "ReleaseRecords", "PostgreSQLDriver", "LiteFS",
        "EventLoop", "CSQLite", "TestSupport", .product(name: "NIOCore", package: "swift-nio"),
      ]),
    .systemLibrary(name: "CPostgreSQL", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
    .systemLibrary(name: "CSQLite", providers: [.apt(["libsqlite3-dev"])]),
    .testTarget(
      name: "EndToEnd",
      dependencies: [
        "Probe", "supervisor", "supervisor-agent", "AgentProtocol", "CEndToEnd", "CLinux", "CSQLite",
        "TestSupport",
      ], exclude: ["CASES.md", "ROWS.md"]),
  ] : []

// One target per concern. Dependencies point down the list of Sources in README.md ("The folders"),
// and Tests/Checks/import-graph.sh fails when a source file imports against it.
let package = Package(
  name: "supervisor",
  products: [
    .executable(name: "supervisor", targets: ["supervisor"]),
    // For the fuzz targets (Tests/Fuzzing), which are a package of their own.
    .library(name: "AgentProtocol", targets: ["AgentProtocol"]),
    .library(name: "Settings", targets: ["Settings"]),
    .library(name: "Control", targets: ["Control"]),
    // For the simulator (Tests/Simulation), which is another.
    .library(
      name: "Lifecycle",
      targets: [
        "Lifecycle", "Phases", "Coordination", "Control", "AgentSupervision", "Checks", "Processes",
        "Journal", "AgentProtocol", "ReleaseRecords", "EventLoop",
      ]),
  ] + agentProducts,
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2")
  ] + agentDependencies,
  targets: [
    // The program: a thin main.
    .executableTarget(name: "supervisor", dependencies: ["Commands"]),
    .target(
      name: "Commands",
      dependencies: [
        "Lifecycle", "Frameworks", "Phases", "LiteFS", "Coordination", "Control", "AgentSupervision",
        "Processes", "Journal", "Settings", "AgentProtocol", "ReleaseRecords", "EventLoop", "CLinux",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ]),
    .target(
      name: "Lifecycle",
      dependencies: [
        "Frameworks", "Phases", "LiteFS", "Coordination", "Control", "AgentSupervision", "Checks",
        "Processes",
        "Journal",
        "Settings", "AgentProtocol", "ReleaseRecords", "EventLoop", "CLinux",
      ]),

    // Decisions: values without I/O.
    .target(name: "Frameworks", dependencies: ["Settings"]),
    .target(name: "LiteFS", dependencies: ["Processes", "Settings", "EventLoop"]),
    .target(name: "Phases", dependencies: ["Coordination", "Settings", "ReleaseRecords", "EventLoop"]),
    .target(name: "Coordination", dependencies: ["ReleaseRecords", "EventLoop", "CLinux"]),
    .target(name: "Checks", dependencies: ["EventLoop", "CLinux"]),

    // The machinery.
    .target(name: "Control", dependencies: ["Journal", "EventLoop", "CLinux"]),
    .target(
      name: "AgentSupervision",
      dependencies: ["Processes", "Settings", "AgentProtocol", "EventLoop", "CLinux"]),
    .target(name: "Processes", dependencies: ["Journal", "EventLoop", "CLinux"]),
    .target(name: "Journal", dependencies: ["EventLoop", "CLinux"]),
    .target(name: "Settings", dependencies: ["EventLoop", "CYAML"]),
    .target(name: "AgentProtocol"),
    .target(name: "ReleaseRecords"),
    .target(name: "EventLoop", dependencies: ["CLinux"]),
    .target(name: "CLinux"),
    .systemLibrary(name: "CYAML", providers: [.apt(["libyaml-dev"])]),

    // Tests: a target per source target, and the built program driven from outside.
    // The servers for tests are driven with the agent's libraries.
    .target(
      name: "TestSupport", dependencies: hasAgent ? ["CPostgreSQL"] : [], path: "Tests/Support",
      exclude: hasAgent ? ["Servers/server.sh", "Servers/redis.sh", "Servers/litefs.sh"] : ["Servers"]),
    .executableTarget(name: "Probe", path: "Tests/Probe"),
    .testTarget(name: "EventLoopTests", dependencies: ["EventLoop", "CLinux"]),
    .testTarget(name: "SettingsTests", dependencies: ["Settings"], exclude: ["Broken"]),
    .testTarget(name: "ProcessesTests", dependencies: ["Processes", "EventLoop", "CLinux"]),
    .testTarget(name: "ChecksTests", dependencies: ["Checks", "EventLoop"]),
    .testTarget(name: "ControlTests", dependencies: ["Control", "Journal", "EventLoop", "CLinux"]),
    .testTarget(
      name: "AgentProtocolTests", dependencies: ["AgentProtocol", "TestSupport"], exclude: ["Golden"]),
    .testTarget(
      name: "AgentSupervisionTests",
      dependencies: [
        "AgentSupervision", "AgentProtocol", "Processes", "Settings", "EventLoop", "TestSupport",
      ]),
    .testTarget(
      name: "LiteFSTests", dependencies: ["LiteFS", "Processes", "Settings", "EventLoop"],
      exclude: ["Recorded"]),
    .testTarget(name: "FrameworksTests", dependencies: ["Frameworks", "Settings"]),
    .testTarget(name: "ReleaseRecordsTests", dependencies: ["ReleaseRecords"]),
    .testTarget(name: "CoordinationTests", dependencies: ["Coordination", "ReleaseRecords", "EventLoop"]),
    .testTarget(
      name: "PhasesTests",
      dependencies: ["Phases", "Coordination", "Settings", "ReleaseRecords", "EventLoop", "TestSupport"]),
    .testTarget(
      name: "LifecycleTests",
      dependencies: [
        "Lifecycle", "Phases", "Coordination", "Control", "Checks", "AgentSupervision", "Processes",
        "Settings",
        "AgentProtocol", "ReleaseRecords", "EventLoop", "CLinux", "TestSupport",
      ]),
    .target(name: "CEndToEnd", path: "Tests/CEndToEnd"),
  ] + agentTargets,
  swiftLanguageModes: [.v6],
  cLanguageStandard: .gnu11
)
