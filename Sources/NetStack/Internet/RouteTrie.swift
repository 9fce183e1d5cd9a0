// SPDX-License-Identifier: GPL-2.0-or-later

// The forwarding table that packets read: a trie of six bits a level whose nodes keep two bit vectors in place of
// pointers, one for children and one for runs of equal leaves (Asai and Ohara, "Poptrie", SIGCOMM 2015). It is built
// from the routes as a whole and never changed: configuration replaces it.

/// A longest-prefix-match table from addresses to numbers.
@safe struct RouteTrie<Address: InternetAddress>: ~Copyable {
  private struct Node: BitwiseCopyable {
    /// Bit i: the six bits i lead to another node.
    var children: UInt64
    /// Bit i: a run of leaves begins at i.
    var leaves: UInt64
    var firstChild: UInt32
    var firstLeaf: UInt32
  }

  /// No prefix covers the address.
  static var noMatch: UInt32 { .max }

  private let nodes: UnsafeMutablePointer<Node>
  private let leaves: UnsafeMutablePointer<UInt32>
  /// Bytes that the trie takes.
  let size: Int

  /// A prefix and its number.
  struct Prefix {
    var address: Address
    var length: UInt8
    var value: UInt32
  }

  /// The prefixes are all different.
  init(_ prefixes: [Prefix]) {
    // What covers a prefix stands before it, and what one child of a node has stands in one piece.
    let prefixes = prefixes.sorted { a, b in
      a.address != b.address ? a.address < b.address : a.length < b.length
    }
    var builtNodes: [Node] = []
    var builtLeaves: [UInt32] = []
    // Children of one node stand side by side: breadth first.
    var work = [(piece: prefixes.indices, bits: 0, inherited: Self.noMatch)]
    var values = [UInt32](repeating: Self.noMatch, count: 64)
    var pieces = [Range<Int>](repeating: 0..<0, count: 64)
    var next = 0
    while next < work.count {
      let (piece, bits, inherited) = work[next]
      next += 1
      for index in 0..<64 { values[index] = inherited }
      var children: UInt64 = 0
      for place in piece {
        let length = Int(prefixes[place].length)
        // A node above has it.
        if bits > 0, length <= bits { continue }
        let index = Int(Self.digit(prefixes[place].address, bits))
        if length <= bits + 6 {
          let span = 64 >> (length - bits)
          for covered in index & ~(span - 1)..<(index & ~(span - 1)) + span {
            values[covered] = prefixes[place].value
          }
        } else {
          let bit: UInt64 = 1 << UInt64(index)
          pieces[index] = (children & bit == 0 ? place : pieces[index].lowerBound)..<place + 1
          children |= bit
        }
      }
      var node = Node(
        children: children, leaves: 0, firstChild: UInt32(work.count), firstLeaf: UInt32(builtLeaves.count))
      var previous: UInt32?
      for index in 0..<64 {
        if children & 1 << UInt64(index) != 0 {
          work.append((pieces[index], bits + 6, values[index]))
        } else if values[index] != previous {
          node.leaves |= 1 << UInt64(index)
          builtLeaves.append(values[index])
          previous = values[index]
        }
      }
      builtNodes.append(node)
    }
    unsafe nodes = .allocate(capacity: max(builtNodes.count, 1))
    unsafe leaves = .allocate(capacity: max(builtLeaves.count, 1))
    for (index, node) in builtNodes.enumerated() { unsafe nodes[index] = node }
    for (index, leaf) in builtLeaves.enumerated() { unsafe leaves[index] = leaf }
    size = builtNodes.count * MemoryLayout<Node>.stride + builtLeaves.count * 4
  }

  deinit {
    unsafe nodes.deallocate()
    unsafe leaves.deallocate()
  }

  private static func digit(_ address: Address, _ bits: Int) -> Address {
    (address << Address(truncatingIfNeeded: bits)) >> Address(truncatingIfNeeded: Address.bitWidth - 6)
  }

  /// The number of the longest prefix that covers an address, or `noMatch`.
  @inline(__always) func lookup(_ address: Address) -> UInt32 {
    var key = address
    let shift = Address(truncatingIfNeeded: Address.bitWidth &- 6)
    var node = unsafe nodes[0]
    while true {
      let bit: UInt64 = 1 &<< UInt64(truncatingIfNeeded: key &>> shift)
      if node.children & bit == 0 {
        let rank = (node.leaves & (bit &<< 1 &- 1)).nonzeroBitCount
        return unsafe leaves[Int(node.firstLeaf) &+ rank &- 1]
      }
      let rank = (node.children & (bit &- 1)).nonzeroBitCount
      node = unsafe nodes[Int(node.firstChild) &+ rank]
      key = key &<< 6
    }
  }
}
