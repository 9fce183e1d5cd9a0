// SPDX-License-Identifier: GPL-2.0-or-later

// What few kernels are built with: dummy devices, VLAN devices on a cable, netem. `make test-guest` runs these where the
// host's own kernel lacks them.

import Foundation
import Testing

extension Acceptance {
  @Suite("Dummy devices, VLAN devices and netem", .timeLimit(.minutes(10)))
  struct RarerDeviceTests {
    static let text = """
      import Netforge
      let lab = Topology("rarer")
      let a = lab.node("a") {
        Interface("eth0")
        VLAN("eth0.7", on: "eth0", id: 7, address: "10.7.0.1/24")
        Dummy("d0", address: "10.9.0.1/32")
      }
      let b = lab.node("b") {
        Interface("eth0", address: "10.0.0.2/24")
        VLAN("eth0.7", on: "eth0", id: 7, address: "10.7.0.2/24")
        Route("10.9.0.1/32", via: "10.7.0.1")
      }
      lab.link(a["eth0"], b["eth0"]).impaired(
        a: Impairment(rate: .mbps(50), delay: .milliseconds(40), jitter: .milliseconds(2), seed: 7),
        b: Impairment(loss: .percent(DROP), duplicate: .percent(1), seed: 9))
      """

    @Test(
      "They come up as the file says, carry packets, change in place and go",
      .enabled(if: hasAll, "the kernel lacks dummy devices, VLANs or netem"), arguments: Caller.available)
    func all(caller: Caller) throws {
      let scratch = try Scratch()
      let file = try scratch.file("rarer.swift", Self.text.replacing("DROP", with: "0.5"))
      let lossy = try scratch.file("lossy.swift", Self.text.replacing("DROP", with: "100"))
      let lab = TestLab(caller, "rarer")
      try lab.live(file) {
        #expect(try lab.addresses("a", "d0") == ["10.9.0.1/32"])
        let vlan = try lab.ip("b", "link", "show", "dev", "eth0.7").first
        let info = (vlan?["linkinfo"] as? [String: Any])?["info_data"] as? [String: Any]
        #expect(info?["id"] as? Int == 7, "\(String(describing: vlan))")
        let (there, back) = (try lab.queue("a"), try lab.queue("b"))
        #expect(there.contains("delay 40ms  2ms") && there.contains("rate 50Mbit"), "\(there)")
        #expect(back.contains("loss 0.5%") && back.contains("duplicate 1%"), "\(back)")
        // iproute2 before 6.6 does not print the seed, nor kernels before 6.6 keep it.
        let ping = try lab.exec("b", "ping", "-c", "5", "-i", "0.2", "-W", "5", "10.9.0.1")
        #expect(ping.status == 0, "\(ping)")
        let shortest = try #require(ping.output.firstMatch(of: /min.* = ([0-9.]+)\//), "\(ping)").1
        #expect(try #require(Double(shortest)) >= 36, "the delay of one direction: \(ping)")

        let index = try lab.ip("b", "link", "show", "dev", "eth0").first?["ifindex"] as? Int
        let change = try lab.plan(lossy)
        #expect(
          change == [PlannedChange(path: "/nodes/b/qdiscs/eth0/root/loss", operation: "update")], "\(change)")
        #expect(try lab.up(lossy).status == 0)
        #expect(try lab.ip("b", "link", "show", "dev", "eth0").first?["ifindex"] as? Int == index)
        #expect(try !lab.ping("b", "10.7.0.1").isAnswered, "every packet of b's is lost")
        #expect(try lab.up(file).status == 0)
      }
    }

    static let hasAll =
      Host.kernelHas("probe", "type", "dummy") && TopologyTests.hasVLANs && hasNetem

    private static let hasNetem: Bool = {
      let probe = "tc qdisc add dev lo root netem delay 1ms"
      return (try? Host.run(["unshare", geteuid() == 0 ? "-n" : "-Urn", "sh", "-c", probe]).status) == 0
    }()
  }
}

private let hasAll = Acceptance.RarerDeviceTests.hasAll

extension TestLab {
  fileprivate func queue(_ node: String) throws -> String {
    let outcome = try inside(node, "tc", "qdisc", "show", "dev", "eth0")
    try #require(outcome.status == 0, "\(outcome)")
    return outcome.output
  }
}
