// SPDX-License-Identifier: GPL-2.0-or-later

import NetTypes
import Rtnetlink
import Testing

@testable import NetStack

@Suite("tun and tap")
struct TunTapTests {
  @Test("A tap has no carrier until a program is attached, and stays when it goes")
  func carrier() throws {
    var kernel = Kernel()
    let node = try kernel.node()
    let name = try #require(InterfaceName("tap0"))
    let tap = try kernel.makeTunTap(name, in: node, TunTap(isTap: true, owner: 1000))
    try kernel.set("tap0", up: true, in: node)
    var link = try kernel.link("tap0", node)
    #expect(link.carrier == false)
    #expect(link.operationalState == .down)
    #expect(link.qdisc == "pfifo_fast")
    guard case .tun(let options)? = link.kind else {
      Issue.record("no tun")
      return
    }
    #expect(options.type == 2)
    #expect(options.owner == 1000)
    #expect(options.persistent == true)
    let frame = [UInt8](repeating: 0xff, count: 60)
    var isTaken = kernel.inject(frame, into: tap)
    #expect(!isTaken)
    try kernel.setLink(true, of: tap)
    link = try kernel.link("tap0", node)
    #expect(link.carrier == true)
    isTaken = kernel.inject(frame, into: tap)
    #expect(isTaken)
    kernel.run(for: .milliseconds(1))
    try kernel.setLink(false, of: tap)
    #expect(try kernel.link("tap0", node).carrier == false)
    var errors: [Int32] = []
    for taken in ["tap0", "lo"] {
      do {
        _ = try kernel.makeTunTap(InterfaceName(taken) ?? name, in: node, TunTap(isTap: true))
      } catch {
        errors.append(error.errno)
      }
    }
    #expect(errors == [16, 22])
    #expect(kernel.accounting.isClosed)
  }

  @Test("A tun carries packets without a link header, both ways")
  func packets() throws {
    var kernel = Kernel()
    let node = try kernel.node()
    let name = try #require(InterfaceName("tun0"))
    let tun = try kernel.makeTunTap(name, in: node, TunTap(isTap: false))
    try kernel.set("tun0", up: true, in: node)
    try kernel.setLink(true, of: tun)
    try kernel.address("10.0.0.1/24", "tun0", node)
    let link = try kernel.link("tun0", node)
    #expect(link.deviceType == 65534)
    #expect(link.address == nil)
    #expect(link.transmitQueueLength == 500)
    #expect(link.flags.contains(.noARP))
    var request: [UInt8] = [UInt8](repeating: 0, count: 14)
    request[12] = 8
    request += [0x45, 0, 0, 28, 0, 1, 0, 0, 64, 1, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1, 8, 0, 0, 0, 0, 7, 0, 1]
    HostileTests.mend(&request)
    var isTaken = kernel.inject(Array(request.dropFirst(14)), into: tun)
    #expect(isTaken)
    kernel.run(for: .milliseconds(1))
    let answer = kernel.takeFrame(from: tun) ?? [UInt8](repeating: 0, count: 28)
    #expect(answer.count == 28)
    #expect(answer[0] == 0x45)
    #expect(Array(answer[12..<20]) == [10, 0, 0, 1, 10, 0, 0, 2])
    #expect(answer[20] == 0)
    // What is neither IPv4 nor IPv6 is not taken.
    for packet: [UInt8] in [[], [0x10], [UInt8](repeating: 0, count: 40)] {
      isTaken = kernel.inject(packet, into: tun)
      #expect(!isTaken)
    }
    kernel.run(for: .milliseconds(1))
    #expect(kernel.accounting.isClosed)
  }
}
