// SPDX-License-Identifier: GPL-2.0-or-later

import Testing

@testable import NetStack

@Suite("Tables")
struct TableTests {
  @Test("A trie finds what a search through all prefixes finds")
  func trie() {
    var random = RandomState(seed: 5)
    for size in [0, 1, 2, 10, 300, 2000] {
      var prefixes: [RouteTrie<UInt32>.Prefix] = []
      var seen: Set<UInt64> = []
      for value in 0..<size {
        let length = UInt8(random.below(33))
        let address = UInt32(truncatingIfNeeded: random.next() & 0x0f0f_ffff) & UInt32.mask(length)
        guard seen.insert(UInt64(address) << 8 | UInt64(length)).inserted else { continue }
        prefixes.append(RouteTrie<UInt32>.Prefix(address: address, length: length, value: UInt32(value)))
      }
      let trie = RouteTrie(prefixes)
      var wrong = 0
      for round in 0..<500 {
        var address = UInt32(truncatingIfNeeded: random.next() & 0x0f0f_ffff)
        if round % 2 == 0, !prefixes.isEmpty {
          address = prefixes[Int(random.below(UInt64(prefixes.count)))].address | address & 0xff
        }
        let best = prefixes.filter { address & UInt32.mask($0.length) == $0.address }.max {
          $0.length < $1.length
        }
        if trie.lookup(address) != best?.value ?? RouteTrie<UInt32>.noMatch { wrong += 1 }
      }
      #expect(wrong == 0, "\(size) prefixes")
    }
  }

  @Test("A forwarding database holds what a dictionary holds, through insertions and removals")
  func forwardingDatabase() {
    var random = RandomState(seed: 6)
    var database = ForwardingDatabase(seed: 11)
    var model: [UInt64: UInt32] = [:]
    for _ in 0..<20_000 {
      let key = random.below(700) &* 0x0101
      if let place = database.find(key) {
        let port = database[place].port.rawValue
        #expect(model[key] == port)
        if random.below(2) == 0 {
          database.remove(at: place)
          model[key] = nil
        }
      } else {
        #expect(model[key] == nil)
        let port = UInt32(random.below(64))
        _ = database.insert(
          ForwardingEntry(key: key, port: DeviceIndex(port), flags: [], updated: 0, used: 0))
        model[key] = port
      }
    }
    let count = database.count
    #expect(count == model.count)
    let sorted = database.sorted
    #expect(sorted.map(\.key) == model.keys.sorted())
  }

  @Test("A table keeps indices and gives those of the gone again")
  func table() {
    var table = Table<SlotRing>(limit: 100)
    var indices: [TableIndex<SlotRing>] = []
    for number in 0..<100 {
      if let index = table.insert(SlotRing(limit: number + 1)) { indices.append(index) }
    }
    #expect(indices.count == 100)
    let full = table.insert(SlotRing(limit: 1)) == nil
    #expect(full)
    table.remove(indices[40])
    let again = table.insert(SlotRing(limit: 7))
    #expect(again == indices[40])
    let limits = indices.map { table[$0].limit }
    var expected: [UInt32] = Array(1...100)
    expected[40] = 7
    #expect(limits == expected)
  }

  @Test("A ring takes no more than its limit and gives in the order of taking")
  func ring() {
    var ring = SlotRing(limit: 100)
    for round in 0..<5 {
      var taken = 0
      for number in 0..<150 where ring.push(UInt32(round * 1000 + number)) { taken += 1 }
      #expect(taken == 100)
      for number in 0..<60 {
        let value = ring.pop()
        #expect(value == UInt32(round * 1000 + number))
      }
      while ring.pop() != nil {}
    }
  }

  @Test("A set of addresses knows its members only")
  func addresses() {
    var set = AddressSet()
    let empty = set.contains(0)
    let members: [UInt32] = [1, 17, 33, 0x0a00_0001, 0x0a00_0001, 0x7f00_0001, 0xffff_ffff]
    set.replace(with: members + [0])
    let found = members.map { set.contains($0) }
    let others = [0, 2, 16, 0x0a00_0002].map { set.contains($0) }
    #expect(!empty)
    #expect(!found.contains(false))
    #expect(!others.contains(true))
  }
}
