// SPDX-License-Identifier: GPL-2.0-or-later

// Labs in the real kernel, from states written by hand, with iproute2 as the judge.

import Glibc
import LabCore
import NetTypes
import Testing

@testable import KernelDatapath

/// What these tests need of the machine.
enum Requirements {
  static let isRoot = geteuid() == 0
  static let reason: Comment = "needs root"
  static let hasBridgeVLANs =
    isRoot && system("unshare -n ip link add nfp type bridge vlan_filtering 1 2>&-") == 0
}

@Suite("Kernel datapath", .serialized, .enabled(if: Requirements.isRoot, Requirements.reason))
struct KernelDatapathTests {
  @Test("Two nodes on a bridge come up, are seen as asked, and go")
  func pairOnBridge() async throws {
    try await TestLab.with("objpair") { lab in
      let state = lab.star(nodes: 2)
      try await lab.up(state)
      let seen = try await lab.observe(state)
      #expect(lab.differences(state, seen.owned) == [])
      #expect(seen.foreign.isEmpty)
      try lab.run("ip netns exec objpair-n0 ping -c 1 -W 2 10.77.0.2")
    }
  }
}
