// SPDX-License-Identifier: GPL-2.0-or-later

// Sockets by their port (struct udp_table's hash by port). Chains are newest first, so that of sockets that match
// equally well the one bound last is found, as in the kernel. The hash is keyed with a random number, so that nobody
// outside can choose ports that share a chain.

/// Sockets of one protocol in one namespace, by port.
@safe struct PortTable: ~Copyable {
  private struct Node: BitwiseCopyable {
    var socket: UInt32
    var next: UInt32
    var port: UInt16
  }

  static let end: UInt32 = .max

  private var heads: UnsafeMutablePointer<UInt32>?
  private var nodes: UnsafeMutablePointer<Node>?
  private var mask = 0
  private var capacity = 0
  private var freeHead = PortTable.end
  private(set) var count = 0
  private let seed: UInt64

  init(seed: UInt64) { self.seed = seed | 1 }

  deinit {
    unsafe heads?.deallocate()
    unsafe nodes?.deallocate()
  }

  @inline(__always) private func bucket(_ port: UInt16) -> Int {
    Int(truncatingIfNeeded: ((UInt64(port) ^ seed) &* 0x9e37_79b9_7f4a_7c15) &>> 40) & mask
  }

  /// Where a walk over the sockets of a port begins; `end` when there is none.
  @inline(__always) func first(_ port: UInt16) -> UInt32 {
    guard let heads = unsafe heads else { return Self.end }
    return matching(unsafe heads[bucket(port)], port)
  }

  @inline(__always) func next(_ cursor: UInt32, _ port: UInt16) -> UInt32 {
    guard let nodes = unsafe nodes else { return Self.end }
    return matching(unsafe nodes[Int(cursor)].next, port)
  }

  @inline(__always) private func matching(_ start: UInt32, _ port: UInt16) -> UInt32 {
    guard let nodes = unsafe nodes else { return Self.end }
    var cursor = start
    while cursor != Self.end, unsafe nodes[Int(cursor)].port != port {
      cursor = unsafe nodes[Int(cursor)].next
    }
    return cursor
  }

  @inline(__always) func socket(at cursor: UInt32) -> SocketIndex {
    SocketIndex(unsafe nodes.unsafelyUnwrapped[Int(cursor)].socket)
  }

  mutating func insert(_ socket: SocketIndex, _ port: UInt16) {
    if count == capacity { grow() }
    guard let nodes = unsafe nodes, let heads = unsafe heads else { return }
    let place = freeHead
    freeHead = unsafe nodes[Int(place)].next
    let bucket = bucket(port)
    unsafe nodes[Int(place)] = Node(socket: socket.rawValue, next: heads[bucket], port: port)
    unsafe heads[bucket] = place
    count += 1
  }

  mutating func remove(_ socket: SocketIndex, _ port: UInt16) {
    guard let nodes = unsafe nodes, let heads = unsafe heads else { return }
    let bucket = bucket(port)
    var previous = Self.end
    var cursor = unsafe heads[bucket]
    while cursor != Self.end {
      let node = unsafe nodes[Int(cursor)]
      if node.socket == socket.rawValue, node.port == port {
        if previous == Self.end {
          unsafe heads[bucket] = node.next
        } else {
          unsafe nodes[Int(previous)].next = node.next
        }
        unsafe nodes[Int(cursor)].next = freeHead
        freeHead = cursor
        count -= 1
        return
      }
      previous = cursor
      cursor = node.next
    }
  }

  /// Twice the room; chains keep their order.
  private mutating func grow() {
    let larger = max(capacity * 2, 8)
    let freshNodes = UnsafeMutablePointer<Node>.allocate(capacity: larger)
    let freshHeads = UnsafeMutablePointer<UInt32>.allocate(capacity: larger)
    unsafe freshHeads.initialize(repeating: Self.end, count: larger)
    let (oldNodes, oldHeads, oldMask) = unsafe (nodes, heads, mask)
    mask = larger - 1
    var used: UInt32 = 0
    if let oldNodes = unsafe oldNodes, let oldHeads = unsafe oldHeads {
      for old in 0...oldMask {
        var tails: [Int: UInt32] = [:]
        var cursor = unsafe oldHeads[old]
        while cursor != Self.end {
          let node = unsafe oldNodes[Int(cursor)]
          let bucket = bucket(node.port)
          unsafe freshNodes[Int(used)] = Node(socket: node.socket, next: Self.end, port: node.port)
          if let tail = tails[bucket] {
            unsafe freshNodes[Int(tail)].next = used
          } else {
            unsafe freshHeads[bucket] = used
          }
          tails[bucket] = used
          used += 1
          cursor = node.next
        }
      }
      unsafe oldNodes.deallocate()
      unsafe oldHeads.deallocate()
    }
    freeHead = Self.end
    for place in (used..<UInt32(larger)).reversed() {
      unsafe freshNodes[Int(place)] = Node(socket: .max, next: freeHead, port: 0)
      freeHead = place
    }
    unsafe nodes = freshNodes
    unsafe heads = freshHeads
    capacity = larger
  }
}

/// The sockets of one namespace, as packets find them.
struct SocketTables: ~Copyable {
  var udp: PortTable
  /// All of TCP that have a port, and those of them that listen.
  var tcp: PortTable
  var listeners: PortTable
  /// Connections, and requests for them.
  var flows: FlowTable
  /// By identifier.
  var ping: PortTable
  /// In order of making.
  var raw: [SocketIndex] = []
  /// Those that see every frame, and those that see one protocol's.
  var taps: [SocketIndex] = []
  var linkProtocols: [SocketIndex] = []
  /// All, youngest first.
  var first = SocketIndex.none
  /// Keys the choice among sockets that share a port.
  let secret: UInt64

  init(random: inout RandomState) {
    udp = PortTable(seed: random.next())
    ping = PortTable(seed: random.next())
    tcp = PortTable(seed: random.next())
    listeners = PortTable(seed: random.next())
    flows = FlowTable(seed: random.next())
    secret = random.next()
  }
}
