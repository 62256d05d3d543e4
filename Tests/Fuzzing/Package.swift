// swift-tools-version:5.4
import PackageDescription

// Fuzz targets, apart from the main package: they need a sanitizer in every module they reach, and no main.
// `run.sh` builds and runs them. A target's corpus is the folder Corpus/NAME without "Fuzzer".
//
// Tools version 5.4 on purpose: from 5.5 on the package manager renames the entry point of an executable, and
// libFuzzer, which brings its own `main`, has none to rename.
let package = Package(
  name: "fuzzing",
  dependencies: [.package(name: "supervisor", path: "../..")],
  targets: [
    .executableTarget(
      name: "SettingsFuzzer", dependencies: [.product(name: "Settings", package: "supervisor")]),
    .executableTarget(
      name: "HTTPFuzzer", dependencies: ["FuzzInput", .product(name: "Control", package: "supervisor")]),
    .executableTarget(
      name: "FramesFuzzer",
      dependencies: ["FuzzInput", .product(name: "AgentProtocol", package: "supervisor")]),
    .executableTarget(name: "RedisFuzzer", dependencies: ["FuzzInput"]),
    .target(name: "FuzzInput"),
  ]
)
