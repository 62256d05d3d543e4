// swift-tools-version: 6.1
import PackageDescription

// The simulator, apart from the main package, so that it and what it drives can be built for speed without the tests.
// `run.sh` builds and runs it.
let package = Package(
  name: "simulation",
  dependencies: [.package(name: "supervisor", path: "../..")],
  targets: [
    .executableTarget(
      name: "Simulation",
      dependencies: [
        "NIOCore", "PostgreSQLDriver", "RedisDriver", .product(name: "Lifecycle", package: "supervisor"),
      ]),
    // In the place of what the agent's sources import: they are compiled into the simulator, which has neither libpq nor
    // a network.
    .target(name: "NIOCore"),
    .target(name: "PostgreSQLDriver"),
    .target(name: "RedisDriver"),
  ],
  swiftLanguageModes: [.v6]
)
