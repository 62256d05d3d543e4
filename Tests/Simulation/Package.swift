// swift-tools-version: 6.1
import PackageDescription

// The simulator, apart from the main package, so that it and what it drives can be built for speed without the tests.
// `run.sh` builds and runs it.
let package = Package(
  name: "simulation",
  dependencies: [.package(name: "supervisor", path: "../..")],
  targets: [
    .executableTarget(name: "Simulation", dependencies: [.product(name: "Lifecycle", package: "supervisor")])
  ],
  swiftLanguageModes: [.v6]
)
