// swift-tools-version: 6.2
// SPDX-License-Identifier: GPL-2.0-or-later

// The module graph of docs/architecture.md. Arrows point down only; `swift test --filter ArchitectureTests` holds
// this file and every import to it.

import PackageDescription

let settings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let system: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")

/// A library module of ours and the tests that stand beside it.
func module(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

/// A module of the packet's path: every use of raw memory in it is marked.
func hotModule(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: settings + [.strictMemorySafety()])
}

func tests(of name: String, _ dependencies: [Target.Dependency], resources: [Resource] = []) -> Target {
  .testTarget(
    name: "\(name)Tests", dependencies: dependencies + [.byName(name: name)],
    resources: resources, swiftSettings: settings)
}

let package = Package(
  name: "netforge",
  products: [
    .executable(name: "netforge", targets: ["netforge"]),
    .library(name: "Netforge", targets: ["Netforge"]),
    .library(name: "NetforgeTesting", targets: ["NetforgeTesting"]),
    .library(name: "netforge-packetdrill", type: .dynamic, targets: ["Packetdrill"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    .package(url: "https://github.com/apple/swift-system", from: "1.4.0"),
  ],
  targets: [
    // C: what Swift cannot say, and the module maps of the two netfilter libraries.
    .target(name: "CLinux"),
    .target(name: "CDSLSource"),
    .systemLibrary(name: "CMnl", pkgConfig: "libmnl", providers: [.apt(["libmnl-dev"])]),
    .systemLibrary(name: "CNftnl", pkgConfig: "libnftnl", providers: [.apt(["libnftnl-dev"])]),

    // The language a topology file imports. Depends on nothing.
    module("Netforge"),

    // Pure.
    module("NetTypes"),
    module("Rtnetlink", ["NetTypes", "CLinux"]),
    module("Nftables", ["NetTypes"]),
    module("Capture", ["NetTypes"]),
    module("LabCore", ["NetTypes", "Nftables", "Capture", system]),
    module("TopologyModel", ["NetTypes", "Nftables", "LabCore"]),

    // The emulated kernel.
    hotModule("NetStack", ["NetTypes", "Rtnetlink", "Nftables"]),

    // The kernel's doors.
    module("Spawn", ["CLinux", system]),
    module("Netlink", ["NetTypes", "Rtnetlink", "Nftables", "CLinux", "CMnl", "CNftnl", system]),
    module("LinuxObjects", ["NetTypes", "LabCore", "Rtnetlink", "Nftables"]),
    module("LabProcess", ["NetTypes", "LabCore", "Spawn", "CLinux", system, logging]),
    module(
      "KernelDatapath",
      [
        "NetTypes", "Capture", "LabCore", "LinuxObjects", "Netlink", "Rtnetlink", "Nftables", "LabProcess",
        "Spawn", "CLinux", system, logging,
      ]),

    module(
      "EmulatedDatapath",
      [
        "NetTypes", "Capture", "LabCore", "LinuxObjects", "NetStack", "Rtnetlink", "Nftables", "LabProcess",
        "CLinux", system,
      ]),

    // The emulated kernel as packetdrill loads it.
    .target(name: "CPacketdrill"),
    module("Packetdrill", ["NetTypes", "Rtnetlink", "NetStack", "CPacketdrill"]),

    // What the verbs are made of.
    module("Reconcile", ["NetTypes", "Nftables", "Capture", "LabCore", "TopologyModel", system, logging]),
    module("Manifest", ["NetTypes", "LabCore", "TopologyModel", "Spawn", "CLinux", "CDSLSource", system]),

    module(
      "LabHost",
      [
        "NetTypes", "LabCore", "TopologyModel", "Reconcile", "KernelDatapath", "EmulatedDatapath",
        "LabProcess",
      ]),

    module(
      "NetforgeTesting",
      ["NetTypes", "LabCore", "TopologyModel", "Manifest", "Reconcile", "LabHost", system]),

    .executableTarget(
      name: "netforge",
      dependencies: [
        "NetTypes", "Nftables", "Capture", "LabCore", "TopologyModel", "Manifest", "Reconcile",
        "KernelDatapath", "EmulatedDatapath", "LabHost", "LabProcess", "Spawn", "CLinux", argumentParser,
        logging,
        system,
      ],
      swiftSettings: settings),

    // What tests by chance share.
    .target(name: "Seeds", path: "Tests/Seeds", swiftSettings: settings),
    tests(of: "NetTypes", []),
    tests(of: "Rtnetlink", ["NetTypes", "Seeds"]),
    tests(of: "Nftables", ["NetTypes"]),
    tests(of: "NetStack", ["NetTypes", "Rtnetlink", "Nftables", "Netlink", "CLinux", system]),
    .testTarget(name: "PacketdrillTests", swiftSettings: settings),
    tests(of: "Capture", ["NetTypes", "Seeds", "CLinux"]),
    tests(of: "LabCore", ["NetTypes", "Nftables"]),
    tests(of: "Netforge", []),
    tests(of: "TopologyModel", ["NetTypes", "Nftables", "LabCore", "Seeds"]),
    tests(of: "Spawn", [system]),
    tests(of: "Netlink", ["NetTypes", "Rtnetlink", "Nftables", "TopologyModel", "Seeds", "CLinux", system]),
    tests(of: "LinuxObjects", ["NetTypes", "LabCore", "Rtnetlink", "Nftables"]),
    tests(of: "LabProcess", ["NetTypes", "Capture", "LabCore", "Spawn", "CLinux", "Seeds", system, logging]),
    tests(
      of: "KernelDatapath",
      ["NetTypes", "LabCore", "LinuxObjects", "Netlink", "Manifest", "Reconcile", "TopologyModel", system]),
    tests(
      of: "EmulatedDatapath",
      ["NetTypes", "Nftables", "Capture", "LabCore", "LinuxObjects", "Reconcile", "NetStack", system]),
    tests(
      of: "Reconcile", ["NetTypes", "Nftables", "LabCore", "TopologyModel", "Seeds", system],
      resources: [.copy("Golden")]),
    tests(of: "NetforgeTesting", []),
    tests(of: "Manifest", ["Nftables", "LabCore", "TopologyModel", "Spawn", "CDSLSource", system]),
    .testTarget(name: "ArchitectureTests", swiftSettings: settings),
    .testTarget(name: "AcceptanceTests", dependencies: ["netforge", "Seeds"], swiftSettings: settings),
    .executableTarget(
      name: "emulated-bench",
      dependencies: ["NetTypes", "LabCore", "TopologyModel", "Reconcile", "EmulatedDatapath", system],
      path: "Benchmarks/Emulated",
      swiftSettings: settings),
    .executableTarget(
      name: "netstack-bench",
      dependencies: ["NetStack", "NetTypes", "Nftables", "Rtnetlink", "Netlink", system],
      path: "Benchmarks/NetStack",
      swiftSettings: settings),
  ]
)
