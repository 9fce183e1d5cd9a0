// SPDX-License-Identifier: GPL-2.0-or-later

import NetTypes
import Rtnetlink
import Testing

struct NetlinkMessageTests {
  @Test("messages in a buffer come out as they went in, whatever their padding")
  func buffer() throws {
    let messages = (0..<9).map { count in
      NetlinkMessage(
        type: .newLink, flags: [.request, .create], sequence: UInt32(count), port: 7,
        payload: (0..<count).map { UInt8($0 + 1) })
    }
    var bytes: [UInt8] = []
    for message in messages { message.encode(into: &bytes) }
    #expect(bytes.count == messages.reduce(0) { $0 + $1.encodedLength })
    #expect(try NetlinkMessage.parse(bytes) == messages)
  }

  @Test("a header stands byte for byte as the kernel's structure does")
  func header() {
    let message = NetlinkMessage(
      type: .getLink, flags: .request, sequence: 0x0102_0304, port: 5, payload: [9])
    #expect(
      message.encoded()
        == [17, 0, 0, 0, 18, 0, 1, 0, 4, 3, 2, 1, 5, 0, 0, 0, 9, 0, 0, 0])
  }

  @Test("lengths that lie are errors")
  func lies() {
    let good = NetlinkMessage(type: .newLink, payload: [1, 2, 3, 4]).encoded()
    for count in 1..<good.count {
      #expect(throws: NetlinkDecodingError.self) { try NetlinkMessage.parse(Array(good.prefix(count))) }
    }
    for length in [0, 15, 21, 255] {
      var bad = good
      bad[0] = UInt8(length)
      #expect(throws: NetlinkDecodingError.self) { try NetlinkMessage.parse(bad) }
    }
    #expect(throws: NetlinkDecodingError.self) {
      try NetlinkMessage.parse([0xff, 0xff, 0xff, 0xff] + good.dropFirst(4))
    }
    #expect((try? NetlinkMessage.parse([])) == [])
  }

  @Test("a nest's length counts what is in it, and each attribute is padded")
  func nesting() throws {
    var writer = NetlinkWriter()
    writer.u8(1, 0xaa)
    writer.nest(2) { nest in
      nest.string(3, "ab")
      nest.nest(4) { $0.be16(5, 0x1234) }
    }
    #expect(
      writer.bytes == [
        5, 0, 1, 0, 0xaa, 0, 0, 0,
        24, 0, 2, 0x80, 7, 0, 3, 0, 0x61, 0x62, 0, 0, 12, 0, 4, 0x80, 6, 0, 5, 0, 0x12, 0x34, 0, 0,
      ])
    var reader = AttributeReader(writer.bytes)
    let first = try #require(try reader.next())
    #expect(try first.type == 1 && first.u8() == 0xaa && !first.isNested)
    let nest = try #require(try reader.next())
    #expect(nest.type == 2 && nest.isNested)
    var inner = nest.content
    #expect(try inner.next()?.string() == "ab")
    var innermost = try #require(try inner.next()).content
    #expect(try innermost.next()?.be16() == 0x1234)
    #expect(try reader.next() == nil)
  }

  @Test("an attribute that grows too large marks its message, and nothing traps")
  func oversized() {
    var link = LinkMessage(index: 1)
    link.alias = String(repeating: "x", count: 70_000)
    let message = link.request(.change)
    #expect(message.oversizedAttribute != nil)
    var route = RouteMessage(family: .ipv4)
    route.nextHops = (0..<9000).map { NextHop(outputIndex: Int32($0), gateway: .init("10.0.0.1")) }
    #expect(route.request(.create).oversizedAttribute != nil)
    #expect(LinkMessage(index: 1).request(.get).oversizedAttribute == nil)
  }

  @Test("the kernel's refusals say why, capped or with the request quoted")
  func errors() throws {
    let refusals = try Fixtures.errors.map { try NetlinkAcknowledgement(NetlinkMessage.parse($0.bytes)[0]) }
    #expect(refusals.map(\.errorNumber) == [17, 22])
    #expect(refusals.map(\.text) == [nil, "mtu greater than device maximum"])
    #expect(refusals.map(\.requestType) == [.newLink, .newLink])
  }

  @Test("a refusal that is written is read as it was meant")
  func refusalRoundTrip() throws {
    var refusal = NetlinkAcknowledgement(
      errorNumber: 22, text: "Nexthop has invalid gateway.", attributeOffset: 44)
    let request = NetlinkMessage(type: .newRoute, flags: [.request, .create], sequence: 77, port: 9)
    refusal.requestType = .newRoute
    refusal.requestSequence = 77
    let answer = refusal.answer(to: request)
    #expect(try NetlinkAcknowledgement(answer) == refusal)
    for count in 0..<answer.payload.count {
      var cut = answer
      cut.payload = Array(answer.payload.prefix(count))
      _ = try? NetlinkAcknowledgement(cut)
    }
  }

  @Test("the end of a dump carries its error and words")
  func endOfDump() throws {
    let done = NetlinkMessage(type: .done, flags: [.multipart, .extendedAcknowledgement]) { writer in
      writer.fixed(Int32(-2))
      writer.string(1, "ipv4: FIB table does not exist")
    }
    let end = try NetlinkAcknowledgement(done)
    #expect(end.errorNumber == 2 && end.text == "ipv4: FIB table does not exist")
    #expect(try !NetlinkAcknowledgement(NetlinkMessage(type: .done)).isError)
  }
}
