// SPDX-License-Identifier: GPL-2.0-or-later

// What a bridge takes from its ports and tells of itself.

import NetTypes
import Rtnetlink
import Testing

@testable import NetStack

@Suite("Bridges")
struct BridgeTests {
  private func faces(_ kernel: inout Kernel, _ count: Int, _ node: NamespaceIndex) throws -> [DeviceIndex] {
    try (0..<count).map { number in
      let mac = MACAddress(rawValue: 0x0200_0000_0100 + UInt64(number))
      let face = try kernel.makeOutside(try #require(InterfaceName("p\(number)")), in: node, mac: mac)
      try kernel.set("p\(number)", up: true, in: node)
      return face
    }
  }

  @Test("A bridge's address, MTU and carrier are its ports', until configuration says another")
  func ofPorts() throws {
    var kernel = Kernel()
    let node = try kernel.node()
    try kernel.bridge("br0", node)
    let found = kernel.device("br0", in: node)
    let bridge = try #require(found)
    func hasCarrier() -> Bool { kernel.hasCarrier(bridge) }
    #expect(!hasCarrier())
    _ = try faces(&kernel, 3, node)
    for name in ["p2", "p1"] { try kernel.join(name, "br0", node) }
    #expect(kernel.devices[bridge].mac == 0x0200_0000_0101)
    #expect(hasCarrier())
    try kernel.change("p2", node) { $0.mtu = 1400 }
    #expect(kernel.devices[bridge].mtu == 1400)
    try kernel.change("br0", node) { $0.mtu = 1300 }
    try kernel.change("p2", node) { $0.mtu = 1450 }
    #expect(kernel.devices[bridge].mtu == 1300)
    for name in ["p1", "p2"] { try kernel.change(name, node) { $0.master = 0 } }
    #expect(kernel.devices[bridge].mac == 0)
    #expect(!hasCarrier())
    try kernel.change("br0", node) { $0.address = [2, 0, 0, 0, 0, 9] }
    try kernel.join("p0", "br0", node)
    #expect(kernel.devices[bridge].mac == 0x0200_0000_0009)
    try kernel.set("p0", up: false, in: node)
    #expect(!hasCarrier())
  }

  @Test("The database counts what it learned, learns no more than it may, and tells when an address was used")
  func database() throws {
    var kernel = Kernel()
    let node = try kernel.node()
    try kernel.bridge("br0", node)
    let ports = try faces(&kernel, 2, node)
    for name in ["p0", "p1"] { try kernel.join(name, "br0", node) }
    try kernel.setBridge("br0", node) { $0.maximumLearned = 3 }
    for number in 1...5 {
      kernel.inject(BridgeVLANTests.frame(UInt8(number) * 4, to: 0xf0), into: ports[0])
      kernel.run(for: .seconds(1))
    }
    #expect(kernel.bridgeOptions("br0", node).learned == 3)
    kernel.inject(BridgeVLANTests.frame(0x44, to: 4), into: ports[1])
    kernel.run(for: .seconds(2))
    let entry = try kernel.dump(NeighborMessage.dumpForwarding(), in: node).map { try NeighborMessage($0) }
      .first { $0.macAddress?.rawValue == 4 }
    #expect(entry?.cacheInfo?.used == 200)
    #expect(entry?.cacheInfo?.updated == 700)
    #expect(kernel.accounting.isClosed)
  }

  @Test("A bridge device in promiscuous mode sees what goes from port to port")
  func promiscuous() throws {
    var kernel = Kernel()
    let node = try kernel.node()
    try kernel.bridge("br0", node)
    let ports = try faces(&kernel, 2, node)
    for name in ["p0", "p1"] { try kernel.join(name, "br0", node) }
    kernel.inject(BridgeVLANTests.frame(2, to: 0xf0), into: ports[1])
    kernel.run(for: .milliseconds(1))
    for isOn in [false, true] {
      try kernel.change("br0", node) { $0.set(.promiscuous, isOn) }
      let before = kernel.statistics("br0", node).rxPackets
      kernel.inject(BridgeVLANTests.frame(4, to: 2), into: ports[0])
      kernel.run(for: .milliseconds(1))
      #expect(kernel.statistics("br0", node).rxPackets - before == (isOn ? 1 : 0))
    }
    #expect(kernel.accounting.isClosed)
  }

  @Test("A bridge has 1,023 ports, and no more")
  func ports() throws {
    var kernel = Kernel()
    let node = try kernel.node()
    try kernel.bridge("br0", node)
    _ = try faces(&kernel, 1024, node)
    for number in 0..<1023 { try kernel.join("p\(number)", "br0", node) }
    #expect(kernel.portOptions("p1022", node).number == 1023)
    #expect(throws: KernelError.exchangeFull) { try kernel.join("p1023", "br0", node) }
  }
}
