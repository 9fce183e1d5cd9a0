// SPDX-License-Identifier: GPL-2.0-or-later

// A bridge that filters VLANs. The kernels that this was written on cannot: what is asked here is what
// net/bridge/br_vlan.c and bridge(8) say.

import NetTypes
import Rtnetlink
import Testing

@testable import NetStack

@Suite("A bridge's VLANs")
struct BridgeVLANTests {
  /// A bridge with five faces: 10 and 20 without tags, both with tags, 10 with and 20 without, and one of no VLAN.
  struct Switch: ~Copyable {
    var kernel: Kernel
    let node: NamespaceIndex
    let faces: [DeviceIndex]

    init() throws {
      var kernel = Kernel()
      let node = try kernel.node()
      try kernel.bridge("br0", node)
      var faces: [DeviceIndex] = []
      for number in 0..<5 {
        let name = try #require(InterfaceName("p\(number)"))
        let mac = MACAddress(rawValue: 0x0200_0000_0100 + UInt64(number))
        faces.append(try kernel.makeOutside(name, in: node, mac: mac))
        try kernel.set(name.text, up: true, in: node)
        try kernel.join(name.text, "br0", node)
      }
      self.kernel = kernel
      self.node = node
      self.faces = faces
    }

    mutating func setUp() throws {
      let access: BridgeVLAN.Flags = [.pvid, .untagged]
      try set("p0", [BridgeVLAN(10, access)])
      try set("p1", [BridgeVLAN(20, access)])
      try set("p2", [BridgeVLAN(10), BridgeVLAN(20)])
      try set("p3", [BridgeVLAN(10), BridgeVLAN(20, access)])
      try set("p4", [])
      try kernel.setBridge("br0", node) { $0.vlanFiltering = true }
    }

    /// The VLANs of a port, without the one that it came with.
    mutating func set(_ port: String, _ vlans: [BridgeVLAN]) throws {
      let index = kernel.ifindex(port, node)
      try kernel.perform(BridgeVLANMessage(index: index, vlans: [BridgeVLAN(1)]).deleteRequest, in: node)
      try kernel.perform(BridgeVLANMessage(index: index, vlans: vlans).addRequest, in: node)
    }

    /// What comes out of each face: the tag's 16 bits, or nothing between the bars for a frame without.
    mutating func send(_ frame: [UInt8], _ face: Int) -> [String] {
      kernel.inject(frame, into: faces[face])
      kernel.run(for: .milliseconds(1))
      return faces.map { face in
        var seen: [String] = []
        while let frame = kernel.takeFrame(from: face) {
          let type = UInt16(frame[12]) << 8 | UInt16(frame[13])
          let isTagged = type == 0x8100 || type == 0x88a8
          #expect(Array(frame[(isTagged ? 16 : 12)...]) == BridgeVLANTests.content)
          seen.append(isTagged ? "\(UInt16(frame[14]) << 8 | UInt16(frame[15]))" : "|")
        }
        return seen.joined(separator: " ")
      }
    }

    mutating func learned() throws -> [String] {
      try kernel.dump(NeighborMessage.dumpForwarding(), in: node).map { try NeighborMessage($0) }
        .filter { $0.state == .reachable }.map { entry in
          let port = faces.firstIndex { kernel.devices[$0].ifindex == entry.index } ?? -1
          return "\(entry.macAddress?.rawValue ?? 0 & 255) vlan \(entry.vlan ?? 0) p\(port)"
        }
    }
  }

  /// Type and payload.
  static let content: [UInt8] = [0x88, 0xb5] + (0..<46).map { UInt8($0) }

  static func frame(_ source: UInt8, to destination: UInt8, tag: UInt16? = nil, type: UInt16 = 0x8100)
    -> [UInt8]
  {
    let tag = tag.map { [UInt8(type >> 8), UInt8(type & 255), UInt8($0 >> 8), UInt8($0 & 255)] } ?? []
    return [0, 0, 0, 0, 0, destination] + [0, 0, 0, 0, 0, source] + tag + content
  }

  @Test("Frames stay in their VLAN, and have a tag where the port wants one")
  func filtering() throws {
    var lab = try Switch()
    try lab.setUp()
    #expect(lab.send(Self.frame(1, to: 99), 0) == ["", "", "10", "10", ""])
    #expect(lab.send(Self.frame(2, to: 99), 1) == ["", "", "20", "|", ""])
    #expect(lab.send(Self.frame(3, to: 99, tag: 10), 2) == ["|", "", "", "10", ""])
    #expect(lab.send(Self.frame(4, to: 99, tag: 20), 2) == ["", "|", "", "|", ""])
    #expect(lab.send(Self.frame(5, to: 99), 3) == ["", "|", "20", "", ""])
    // A tag of a VLAN that the port is not in, no tag where there is no PVID, and a port of no VLAN.
    #expect(lab.send(Self.frame(6, to: 99, tag: 30), 2) == ["", "", "", "", ""])
    #expect(lab.send(Self.frame(6, to: 99), 2) == ["", "", "", "", ""])
    #expect(lab.send(Self.frame(6, to: 99), 4) == ["", "", "", "", ""])
    #expect(lab.send(Self.frame(6, to: 99, tag: 20), 0) == ["", "", "", "", ""])
    #expect(lab.kernel.drops(of: lab.node)?[.bridgeVLANFilter] == 4)
    // A priority without a VLAN is the PVID's and keeps its priority.
    #expect(
      lab.send(Self.frame(7, to: 99, tag: 5 << 13), 0) == ["", "", "\(5 << 13 | 10)", "\(5 << 13 | 10)", ""])
    // Known ones go to where they are, in their VLAN.
    #expect(lab.send(Self.frame(3, to: 1, tag: 10), 2) == ["|", "", "", "", ""])
    #expect(lab.send(Self.frame(4, to: 1, tag: 20), 2) == ["", "|", "", "|", ""])
    #expect(lab.kernel.accounting.isClosed)
  }

  @Test("One address is at different places in different VLANs")
  func independentLearning() throws {
    var lab = try Switch()
    try lab.setUp()
    _ = lab.send(Self.frame(1, to: 99), 0)
    _ = lab.send(Self.frame(1, to: 99, tag: 20), 2)
    #expect(try lab.learned() == ["1 vlan 10 p0", "1 vlan 20 p2"])
    #expect(lab.send(Self.frame(5, to: 1), 3) == ["", "", "20", "", ""])
    #expect(lab.send(Self.frame(5, to: 1, tag: 10), 3) == ["|", "", "", "", ""])
    // With the VLAN goes what was learned in it.
    let index = lab.kernel.ifindex("p2", lab.node)
    try lab.kernel.perform(
      BridgeVLANMessage(index: index, vlans: [BridgeVLAN(20)]).deleteRequest, in: lab.node)
    #expect(try lab.learned().contains("1 vlan 20 p2") == false)
    // An entry by configuration is of all VLANs of its port when it names none.
    var entry = NeighborMessage(family: .bridge, index: lab.kernel.ifindex("p3", lab.node))
    entry.linkAddress = [0, 0, 0, 0, 0, 8]
    entry.state = .noARP
    entry.flags = .master
    try lab.kernel.perform(entry.request(.create), in: lab.node)
    #expect(lab.send(Self.frame(2, to: 8), 1) == ["", "", "", "|", ""])
    #expect(lab.send(Self.frame(1, to: 8), 0) == ["", "", "", "10", ""])
    entry.vlan = 30
    #expect(throws: KernelError.invalidArgument) {
      try lab.kernel.perform(entry.request(.create), in: lab.node)
    }
  }

  @Test("The bridge device is in VLANs of its own")
  func bridgeItself() throws {
    var lab = try Switch()
    try lab.setUp()
    let host = try lab.kernel.node()
    try lab.kernel.veth("eth0", host, "p9", lab.node)
    try lab.kernel.join("p9", "br0", lab.node)
    try lab.set("p9", [BridgeVLAN(10, [.pvid, .untagged])])
    try lab.kernel.address("10.0.0.1/24", "br0", lab.node)
    try lab.kernel.address("10.0.0.2/24", "eth0", host)
    #expect(try lab.kernel.ping("10.0.0.1", from: host).isEmpty)
    let index = lab.kernel.ifindex("br0", lab.node)
    var own = BridgeVLANMessage(index: index, vlans: [BridgeVLAN(10, [.pvid, .untagged])])
    own.isBridgeItself = true
    try lab.kernel.perform(own.addRequest, in: lab.node)
    #expect(try lab.kernel.ping("10.0.0.1", from: host, count: 2).contains { $0.kind == .reply })
    #expect(try lab.kernel.ping("10.0.0.2", from: lab.node).map(\.kind) == [.reply])
    #expect(lab.kernel.accounting.isClosed)
  }

  @Test("VLANs are read back as ranges, the default one moves, and what cannot be is refused")
  func configuration() throws {
    var lab = try Switch()
    func vlans(_ name: String) throws -> [BridgeVLAN] {
      try lab.kernel.dump(BridgeVLANMessage.dump(), in: lab.node).map { try BridgeVLANMessage($0) }
        .filter { $0.index == lab.kernel.ifindex(name, lab.node) }.flatMap(\.vlans)
    }
    let standard: BridgeVLAN.Flags = [.pvid, .untagged]
    #expect(try vlans("p0") == [BridgeVLAN(1, standard)])
    #expect(try vlans("br0") == [BridgeVLAN(1, standard)])
    let index = lab.kernel.ifindex("p0", lab.node)
    let more = BridgeVLANMessage(index: index, vlans: [BridgeVLAN(100...200), BridgeVLAN(4094, .untagged)])
    try lab.kernel.perform(more.addRequest, in: lab.node)
    #expect(
      try vlans("p0") == [BridgeVLAN(1, standard), BridgeVLAN(100...200), BridgeVLAN(4094, .untagged)])
    try lab.kernel.setBridge("br0", lab.node) { $0.vlanDefaultPVID = 5 }
    #expect(try vlans("p1") == [BridgeVLAN(5, standard)])
    #expect(try vlans("p0").first == BridgeVLAN(5, standard))
    try lab.kernel.setBridge("br0", lab.node) { $0.vlanDefaultPVID = 0 }
    #expect(try vlans("p1").isEmpty)
    let kernel = lab.kernel.bridgeOptions("br0", lab.node)
    #expect(kernel.vlanDefaultPVID == 0)
    #expect(kernel.vlanFiltering == false)
    try lab.kernel.setBridge("br0", lab.node) {
      $0.vlanFiltering = true
      $0.vlanProtocol = 0x88a8
    }
    #expect(lab.kernel.bridgeOptions("br0", lab.node).groupAddress == [1, 0x80, 0xc2, 0, 0, 8])
    // A customer's tag is content to a provider's bridge.
    try lab.kernel.perform(
      BridgeVLANMessage(index: index, vlans: [BridgeVLAN(7, standard)]).addRequest, in: lab.node)
    let trunk = lab.kernel.ifindex("p1", lab.node)
    try lab.kernel.perform(BridgeVLANMessage(index: trunk, vlans: [BridgeVLAN(7)]).addRequest, in: lab.node)
    lab.kernel.inject(Self.frame(1, to: 99, tag: 42), into: lab.faces[0])
    lab.kernel.run(for: .milliseconds(1))
    let frame = lab.kernel.takeFrame(from: lab.faces[1]) ?? []
    #expect(frame[12..<20] == [0x88, 0xa8, 0, 7, 0x81, 0, 0, 42])

    func refusal(_ message: NetlinkMessage) -> CInt {
      do { try lab.kernel.perform(message, in: lab.node) } catch { return error.errno }
      return 0
    }
    for (vlan, errno) in [(UInt16(0), CInt(22)), (4095, 22)] {
      #expect(refusal(BridgeVLANMessage(index: index, vlans: [BridgeVLAN(vlan)]).addRequest) == errno)
    }
    #expect(refusal(BridgeVLANMessage(index: index, vlans: [BridgeVLAN(8...9, .pvid)]).addRequest) == 22)
    #expect(refusal(BridgeVLANMessage(index: index, vlans: [BridgeVLAN(3000)]).deleteRequest) == 0)
    var link = LinkMessage(index: lab.kernel.ifindex("br0", lab.node))
    for (errno, body) in [
      (1, { $0.vlanDefaultPVID = 9 }), (22, { $0.vlanDefaultPVID = 4095 }),
      (93, { $0.vlanProtocol = 0x9100 }),
    ] as [(CInt, (inout BridgeOptions) -> Void)] {
      var options = BridgeOptions()
      body(&options)
      link.kind = .bridge(options)
      #expect(refusal(link.request(.change)) == errno)
    }
  }

  @Test("Groups are of a VLAN, members end, and too many turn snooping off")
  func groups() throws {
    var lab = try Switch()
    try lab.setUp()
    func send(_ frame: [UInt8], _ face: Int) -> [Int] {
      lab.kernel.inject(frame, into: lab.faces[face])
      lab.kernel.run(for: .milliseconds(1))
      return lab.faces.map { face in
        var count = 0
        while lab.kernel.takeFrame(from: face) != nil { count += 1 }
        return count
      }
    }
    let group: [UInt8] = [239, 1, 1, 1]
    let query = BridgeOracleTests.igmp(0x11, [0, 0, 0, 0], from: 9, code: 1, to: [224, 0, 0, 1])
    // The querier stands in both VLANs: behind the port with tags, to which all of both goes.
    _ = send(Array(query[0..<12]) + [0x81, 0, 0, 10] + query[12...], 2)
    lab.kernel.run(for: .seconds(1))
    _ = send(BridgeOracleTests.igmp(0x16, group, from: 1), 0)
    #expect(send(BridgeOracleTests.data(group, from: 2), 1) == [0, 0, 1, 0, 0])
    let tagged = BridgeOracleTests.data(group, from: 3)
    #expect(send(Array(tagged[0..<12]) + [0x81, 0, 0, 10] + tagged[12...], 3) == [1, 0, 1, 0, 0])
    // The querier falls silent after 255 s, and all is flooded; the member ends after 260.
    lab.kernel.run(for: .seconds(256))
    #expect(send(BridgeOracleTests.data(group, from: 2), 1) == [0, 0, 1, 1, 0])
    func entries() throws -> Int {
      try lab.kernel.dump(MulticastDatabaseMessage.dump(), in: lab.node).map {
        try MulticastDatabaseMessage($0).entries.count
      }.reduce(0, +)
    }
    #expect(try entries() == 1)
    lab.kernel.run(for: .seconds(5))
    #expect(try entries() == 0)
    // Without a querier the last member of a leave has two seconds.
    _ = send(BridgeOracleTests.igmp(0x16, group, from: 1), 0)
    _ = send(BridgeOracleTests.igmp(0x17, group, from: 1, to: [224, 0, 0, 2]), 0)
    lab.kernel.run(for: .seconds(1))
    #expect(try entries() == 1)
    lab.kernel.run(for: .seconds(2))
    #expect(try entries() == 0)
    for number in 0..<4097 {
      _ = send(BridgeOracleTests.igmp(0x16, [239, 2, UInt8(number >> 8), UInt8(number & 255)], from: 1), 0)
    }
    #expect(lab.kernel.bridgeOptions("br0", lab.node).multicastSnooping == false)
    #expect(lab.kernel.accounting.isClosed)
  }
}
