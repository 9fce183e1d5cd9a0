// SPDX-License-Identifier: GPL-2.0-or-later

// The compiled form by itself: equality, keys, intervals, JSON.

import Foundation
import NetTypes
import Nftables
import Testing

@Suite("Compiled form")
struct CompiledFormTests {
  @Test("every sample goes through JSON and comes back")
  func json() throws {
    for sample in samples {
      let table = try Compiler.compile(sample.table)
      let data = try JSONEncoder().encode(table)
      #expect(try JSONDecoder().decode(NftTable.self, from: data) == table)
    }
  }

  @Test("a rule's key is its content's hash and ordinal, whatever its counter says")
  func keys() {
    let counted = NftRule(expressions: [.counter(NftCounter(packets: 5, bytes: 9)), .verdict(.accept)])
    let fresh = NftRule(expressions: [.counter(NftCounter()), .verdict(.accept)])
    let other = NftRule(expressions: [.verdict(.drop)])
    let keyed = [counted, fresh, other].keyed
    #expect(keyed[0].key.hasSuffix(".0") && keyed[1].key.hasSuffix(".1") && keyed[2].key.hasSuffix(".0"))
    #expect(keyed[0].key.dropLast() == keyed[1].key.dropLast())
    #expect(keyed[2].key.dropLast() != keyed[1].key.dropLast())
    // Kept in labs that are up: never to change.
    #expect(other.contentHash == "1bb2071c79da6a76")
  }

  @Test("what the kernel adds by itself is no difference")
  func normalisation() {
    let ours = NftExpression.nat(
      NftNAT(kind: .destination, family: .ipv4, addressMin: .r1, portMin: .r2, flags: .portSpecified))
    let theirs = NftExpression.nat(
      NftNAT(
        kind: .destination, family: .ipv4, addressMin: .r1, addressMax: .r1, portMin: .r2, portMax: .r2,
        flags: [.mapAddresses, .portSpecified]))
    #expect(ours.normalized == theirs.normalized)
    #expect(NftExpression.log(NftLog()).normalized == NftExpression.log(NftLog(level: 4)).normalized)
  }

  @Test("data of any length has its bytes and their order")
  func data() {
    var generator = SystemRandomNumberGenerator()
    let samples = (0...NftData.maximumLength).flatMap { length in
      // Few values, so that many begin alike.
      (0..<4).map { _ in (0..<length).map { _ in UInt8.random(in: 0...1, using: &generator) * 0xff } }
    }
    for a in samples {
      #expect(NftData(a).bytes == a && NftData(a).count == a.count)
      for b in samples {
        let (left, right) = (NftData(a), NftData(b))
        #expect((left == right) == (a == b), "\(left) \(right)")
        #expect((left < right) == a.lexicographicallyPrecedes(b), "\(left) \(right)")
      }
    }
  }

  @Test("elements stand by key, and by their ends where keys are the same")
  func order() {
    let elements = (0..<500).map { _ in
      let first = UInt64.random(in: 0..<64)
      return NftSetElement(
        key: NftData(bigEndian: first, width: 4),
        keyEnd: NftData(bigEndian: first + UInt64.random(in: 0..<4), width: 4))
    }
    let set = NftSet(keyTypes: [.ipv4Address], flags: [.interval], elements: elements)
    #expect(set.elements == elements.sorted())
  }

  @Test("a table's sample has an element of each shape, and of a set of a thousand one")
  func sample() {
    let plain = (0..<1000).map { NftSetElement(key: NftData(bigEndian: $0, width: 4)) }
    let aging = (1000..<1010).map { NftSetElement(key: NftData(bigEndian: $0, width: 4), timeout: 1000) }
    let counted = NftSetElement(
      key: NftData(bigEndian: 2000, width: 4), expressions: [.counter(NftCounter())])
    let set = NftSet(
      name: "s", keyTypes: [.ipv4Address], flags: [.timeout], elements: plain + aging + [counted])
    let sample = NftTable(family: .ip, name: "t", sets: [set]).sample
    #expect(sample.sets[0].elements == [plain[0], aging[0], counted])
  }

  @Test(
    "intervals become boundaries and come back",
    arguments: [
      [("0.0.0.0", "0.0.0.9")], [("10.0.0.0", "10.255.255.255"), ("11.0.0.0", "11.0.0.0")],
      [("255.0.0.0", "255.255.255.255")], [("0.0.0.0", "255.255.255.255")],
    ])
  func boundaries(_ intervals: [(String, String)]) {
    let elements = intervals.map { first, last in
      NftSetElement(
        key: IPv4Address(first)?.nftData ?? [], keyEnd: IPv4Address(last)?.nftData, value: .verdict(.accept))
    }
    let set = NftSet(keyTypes: [.ipv4Address], flags: [.interval, .map], data: .verdict, elements: elements)
    #expect(set.elements(fromKernel: set.kernelElements.shuffled()) == elements)
  }

  @Test("registers have the numbers that the kernel dumps")
  func registers() {
    #expect(NftRegister(rawValue: 8) == .r1)
    #expect(NftRegister(rawValue: 20) == .r4)
    #expect(NftRegister(rawValue: 9)?.word == 1)
    #expect(NftRegister(rawValue: 5) == nil)
    #expect(NftRegister(rawValue: 24) == nil)
    #expect((0..<16).allSatisfy { NftRegister(word: $0)?.word == $0 })
  }
}
