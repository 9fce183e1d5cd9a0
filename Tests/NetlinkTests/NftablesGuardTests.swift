// SPDX-License-Identifier: GPL-2.0-or-later

// libnftnl ends the process when an attribute gets a value of the wrong length: that these tests end at all
// is what they prove.

import Nftables
import Rtnetlink
import Seeds
import Testing

@testable import Netlink

@Suite("libnftnl's guards")
struct NftablesGuardTests {
  @Test("an attribute takes its own length and no other", arguments: NftablesAttribute.all)
  func lengths(_ attribute: NftablesAttribute) throws {
    for length in [0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 63, 64, 65, 127, 128, 129, 255, 256, 257, 4096] {
      let object = try NftablesObject(attribute.kind)
      // What an object is decides which attributes it has.
      if attribute.kind == .object { try object.set(.objectType, attribute.owningType) }
      var bytes = [UInt8](repeating: 0x61, count: length)
      if case .text = attribute.length, length > 0 { bytes[length - 1] = 0 }
      if attribute.number == NftablesAttribute.objectType.number, attribute.kind == .object {
        bytes = [1, 0, 0, 0]
      }
      if attribute.admits(bytes) {
        try object.set(attribute, bytes)
      } else {
        #expect(throws: NftablesValueError.self) { try object.set(attribute, bytes) }
      }
    }
  }

  @Test("an attribute of another kind of object is refused")
  func kinds() throws {
    let object = try NftablesObject(.table)
    #expect(throws: NftablesValueError.self) { try object.set(.chainName, text: "c") }
    let meta = try NftablesObject(.expression("meta"))
    #expect(throws: NftablesValueError.self) { try meta.set(.cmpData, [1]) }
    #expect(throws: NftablesValueError.self) { _ = try NftablesObject(.expression("no-such-expression")) }
  }

  @Test(
    "what is out of bounds is an error that names the step",
    arguments: [
      NftChange.addTable(NftTable(family: .ip, name: "")),
      .addTable(NftTable(family: .ip, name: String(repeating: "x", count: 256))),
      .addTable(NftTable(family: .ip, name: "a\0b")),
      .addChain(
        NftTableKey(family: .arp, name: "t"), NftChain(name: "c", base: NftBaseChain(hook: .forward))),
      .addChain(
        NftTableKey(family: .netdev, name: "t"),
        NftChain(
          name: "c", base: NftBaseChain(hook: .ingress, devices: ["an-interface-name-too-long", "lo"]))),
      .addSet(NftTableKey(family: .ip, name: "t"), NftSet(name: "s", keyTypes: [])),
      .addSet(
        NftTableKey(family: .ip, name: "t"),
        NftSet(name: "s", keyTypes: [NftDataType](repeating: .ipv6Address, count: 5))),
      .addSet(
        NftTableKey(family: .ip, name: "t"),
        NftSet(
          name: "s", keyTypes: [.port],
          elements: [NftSetElement(key: NftData([UInt8](repeating: 1, count: 65)))])),
      .addSet(
        NftTableKey(family: .ip, name: "t"),
        NftSet(name: "s", keyTypes: [.port], comment: String(repeating: "c", count: 128))),
      .appendRule(NftTableKey(family: .ip, name: "t"), chain: "c", NftRule(expressions: [.unknown("osf")])),
      .appendRule(
        NftTableKey(family: .ip, name: "t"), chain: "c",
        NftRule(expressions: [NftExpression](repeating: .notrack, count: 129))),
      .appendRule(
        NftTableKey(family: .ip, name: "t"), chain: "c",
        NftRule(expressions: [
          .cmp(NftCmp(operation: .equal, source: .r1, data: NftData([UInt8](repeating: 0, count: 65))))
        ])),
      .appendRule(
        NftTableKey(family: .ip, name: "t"), chain: "c",
        NftRule(expressions: [.log(NftLog(prefix: String(repeating: "p", count: 128)))])),
      .appendRule(
        NftTableKey(family: .ip, name: "t"), chain: "c",
        NftRule(expressions: [.immediate(.data([], in: .r1))])),
      .appendRule(
        NftTableKey(family: .ip, name: "t"), chain: "c",
        NftRule(expressions: [], comment: String(repeating: "c", count: 200))),
      .addObject(NftTableKey(family: .ip, name: "t"), NftObject(name: "o", state: .unknown(9))),
    ])
  func bounds(_ change: NftChange) {
    #expect(throws: NftablesStepError.self) { _ = try NftablesTransaction([change]) }
  }

  @Test("answers that were cut short or altered are errors and never traps")
  func hostileAnswers() throws {
    // Messages in the kernel's own form come from our encoder; a rule in one that holds every kind of nest.
    let set = NftSet(
      keyTypes: [.ipv4Address], flags: [.anonymous, .constant, .interval],
      elements: [NftSetElement(key: [10, 0, 0, 0], keyEnd: [10, 255, 255, 255])])
    let rule = NftRule(
      expressions: [
        .payload(NftPayload(base: .network, offset: 12, length: 4, destination: .r1)),
        .lookup(NftLookup(set: .anonymous(set), source: .r1)), .log(NftLog(prefix: "p")),
        .immediate(.verdict(.jump("other"))),
      ], key: "0.0", comment: "c")
    let table = NftTable(
      family: .ip, name: "t", comment: "x",
      chains: [
        NftChain(name: "c", base: NftBaseChain(hook: .input), rules: [rule]), NftChain(name: "other"),
      ],
      sets: [NftSet(name: "s", keyTypes: [.ipv4Address, .port], flags: [.interval, .concatenation])],
      objects: [NftObject(name: "o", state: .counter(NftCounter()))])
    let messages = try NetlinkMessage.parse(try NftablesTransaction(table.creation).bytes)
    var random = SplitMix(3)
    for _ in 0..<Rounds.of(2000) {
      guard let message = messages.dropFirst().dropLast().randomElement(using: &random) else { break }
      var payload = Array(message.payload[4...])
      payload.damage(&random)
      decode(payload)
    }
    for message in messages.dropFirst().dropLast() {
      for length in 4..<message.payload.count {
        decode(Array(message.payload[4..<length]))
      }
      for index in 4..<message.payload.count {
        for flip in [UInt8(0x01), 0x80, 0xff] {
          var payload = Array(message.payload[4...])
          payload[index - 4] ^= flip
          decode(payload)
        }
      }
    }
  }

  /// Reads a payload as everything that it could be.
  private func decode(_ payload: [UInt8]) {
    var reader = AttributeReader(payload)
    _ = try? NftablesDecoder.table(&reader, .ip)
    reader = AttributeReader(payload)
    _ = try? NftablesDecoder.chain(&reader, .ip)
    reader = AttributeReader(payload)
    _ = try? NftablesDecoder.set(&reader)
    reader = AttributeReader(payload)
    _ = try? NftablesDecoder.elements(&reader)
    reader = AttributeReader(payload)
    _ = try? NftablesDecoder.object(&reader)
    reader = AttributeReader(payload)
    _ = try? NftablesDecoder.rule(&reader)
  }
}

extension NftablesAttribute {
  /// NFT_OBJECT_* of the object that has the attribute.
  fileprivate var owningType: UInt32 {
    switch self {
    case .objectQuotaBytes, .objectQuotaConsumed, .objectQuotaFlags: 2
    case .objectLimitRate, .objectLimitUnit, .objectLimitBurst, .objectLimitType, .objectLimitFlags: 4
    default: 1
    }
  }
}
