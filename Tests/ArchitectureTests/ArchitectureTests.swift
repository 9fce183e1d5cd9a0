// SPDX-License-Identifier: GPL-2.0-or-later

// Holds the package description and every import to the module graph of docs/architecture.md: arrows point down.

import Foundation
import Testing

@Suite("Architecture")
struct ArchitectureTests {
  /// Which of our modules each may use. Anything absent is an arrow up or sideways.
  static let arrows: [String: Set<String>] = [
    "CLinux": [], "CDSLSource": [], "CMnl": [], "CNftnl": [], "CPacketdrill": [], "Netforge": [],
    "NetTypes": [],
    "Capture": ["NetTypes"],
    "Spawn": ["CLinux"],
    "Rtnetlink": ["NetTypes", "CLinux"],
    "Nftables": ["NetTypes"],
    "NetStack": ["NetTypes", "Rtnetlink", "Nftables"],
    "Packetdrill": ["NetTypes", "Rtnetlink", "NetStack", "CPacketdrill"],
    "LabCore": ["NetTypes", "Nftables", "Capture"],
    "TopologyModel": ["NetTypes", "Nftables", "LabCore"],
    "Netlink": ["NetTypes", "Rtnetlink", "Nftables", "CLinux", "CMnl", "CNftnl"],
    "LinuxObjects": ["NetTypes", "LabCore", "Rtnetlink", "Nftables"],
    "LabProcess": ["NetTypes", "LabCore", "Spawn", "CLinux"],
    "KernelDatapath": [
      "NetTypes", "Capture", "LabCore", "LinuxObjects", "Netlink", "Rtnetlink", "Nftables", "LabProcess",
      "Spawn", "CLinux",
    ],
    "EmulatedDatapath": [
      "NetTypes", "Capture", "LabCore", "LinuxObjects", "NetStack", "Rtnetlink", "Nftables", "LabProcess",
      "CLinux",
    ],
    "Reconcile": ["NetTypes", "Nftables", "Capture", "LabCore", "TopologyModel"],
    "Manifest": ["NetTypes", "LabCore", "TopologyModel", "Spawn", "CLinux", "CDSLSource"],
    "LabHost": [
      "NetTypes", "LabCore", "TopologyModel", "Reconcile", "KernelDatapath", "EmulatedDatapath", "LabProcess",
    ],
    "NetforgeTesting": ["NetTypes", "LabCore", "TopologyModel", "Manifest", "Reconcile", "LabHost"],
    "netforge": [
      "NetTypes", "Nftables", "Capture", "LabCore", "TopologyModel", "Manifest", "Reconcile",
      "KernelDatapath", "EmulatedDatapath", "LabHost", "LabProcess", "Spawn", "CLinux",
    ],
  ]

  /// Foundation in full is nowhere; its essentials only above the pure wire formats.
  static let withoutEssentials: Set<String> = [
    "Netforge", "NetTypes", "Capture", "Rtnetlink", "Nftables", "NetStack",
  ]

  static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

  static func swiftFiles(of module: String) -> [URL] {
    let folder = root.appending(path: "Sources/\(module)")
    let walker = FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil)
    return (walker?.compactMap { $0 as? URL } ?? []).filter { $0.pathExtension == "swift" }
  }

  @Test("The graph itself has no cycle")
  func acyclic() {
    var done: Set<String> = []
    var rest = Set(Self.arrows.keys)
    while !rest.isEmpty {
      let ready = rest.filter { Self.arrows[$0, default: []].isSubset(of: done) }
      #expect(!ready.isEmpty, "a cycle among \(rest.sorted())")
      if ready.isEmpty { return }
      done.formUnion(ready)
      rest.subtract(ready)
    }
  }

  @Test("Every source folder is a module of the graph")
  func folders() throws {
    let folders = try FileManager.default.contentsOfDirectory(
      atPath: Self.root.appending(path: "Sources").path())
    #expect(Set(folders).isSubset(of: Set(Self.arrows.keys)))
  }

  @Test("Imports go down only", arguments: arrows.keys.sorted())
  func imports(module: String) throws {
    let allowed = try #require(Self.arrows[module])
    for file in Self.swiftFiles(of: module) {
      for line in try String(contentsOf: file, encoding: .utf8).split(separator: "\n") {
        guard let name = Self.importedModule(in: line) else { continue }
        let place = "\(module)/\(file.lastPathComponent)"
        if Self.arrows[name] != nil { #expect(allowed.contains(name), "\(place) imports \(name)") }
        #expect(name != "Foundation", "\(place) imports all of Foundation")
        if Self.withoutEssentials.contains(module) {
          #expect(name != "FoundationEssentials", "\(place) imports FoundationEssentials")
        }
      }
    }
  }

  @Test("The package declares no arrow that the graph does not have")
  func packageDescription() throws {
    let text = try String(contentsOf: Self.root.appending(path: "Package.swift"), encoding: .utf8)
    let declaration = /[mM]odule\("(\w+)"(?:,\s*\[([^\]]*)\])?\)/
    let declared = text.matches(of: declaration)
    #expect(declared.count >= 10)
    for match in declared {
      let module = String(match.output.1)
      let allowed = try #require(Self.arrows[module], "\(module) is not in the graph")
      for dependency in (match.output.2 ?? "").matches(of: /"(\w+)"/) {
        #expect(allowed.contains(String(dependency.output.1)), "\(module) depends on \(dependency.output.1)")
      }
    }
  }

  /// `Rtnetlink` of `public import struct Rtnetlink.LinkMessage`.
  static func importedModule(in line: Substring) -> String? {
    let pattern =
      /^\s*(?:@\w+\s+)*(?:public |package |internal |private |fileprivate )?import (?:struct |enum |class |func |protocol |typealias |var )?(\w+)/
    return line.firstMatch(of: pattern).map { String($0.output.1) }
  }
}
