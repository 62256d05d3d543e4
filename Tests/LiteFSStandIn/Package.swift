// swift-tools-version: 6.1
import PackageDescription

// A test double of LiteFS and of the Consul it elects by, apart from the main package: neither is ever shipped.
// `build.sh` builds both.
let package = Package(
  name: "litefs-stand-in",
  targets: [
    .executableTarget(name: "litefs", dependencies: ["Wire", "CFUSE", "CYAML"], path: "Sources/StandIn"),
    .executableTarget(name: "lease-server", dependencies: ["Wire"], path: "Sources/LeaseServer"),
    // HTTP and JSON, as much of them as two test doubles need, on threads that block.
    .target(name: "Wire"),
    .systemLibrary(name: "CFUSE", providers: [.apt(["libfuse3-dev"])]),
    // The main package's, by a link.
    .systemLibrary(name: "CYAML", providers: [.apt(["libyaml-dev"])]),
  ],
  swiftLanguageModes: [.v6]
)
