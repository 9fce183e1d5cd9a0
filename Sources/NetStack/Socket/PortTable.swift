// SPDX-License-Identifier: GPL-2.0-or-later

// Sockets by their port (struct udp_table's hash by port). Chains are newest first, so that of sockets that match
// equally well the one bound last is found, as in the kernel. The hash is keyed with a random number, so that nobody
// outside can choose ports that share a chain.

/// Sockets of one protocol in one namespace, by port.
@safe struct PortTable: ~Copyable {
  private struct Node: BitwiseCopyable {
    var socket: UInt32
    var next: UInt32
    var previous: UInt32
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

  /// The answer is the place, by which the socket is taken out again.
  @discardableResult
  mutating func insert(_ socket: SocketIndex, _ port: UInt16) -> UInt32 {
    if count == capacity { grow() }
    guard let nodes = unsafe nodes else { return Self.end }
    let place = freeHead
    freeHead = unsafe nodes[Int(place)].next
    unsafe nodes[Int(place)] = Node(socket: socket.rawValue, next: Self.end, previous: Self.end, port: port)
    link(place)
    count += 1
    return place
  }

  /// Puts a node before all others of its chain.
  private func link(_ place: UInt32) {
    guard let nodes = unsafe nodes, let heads = unsafe heads else { return }
    let bucket = bucket(unsafe nodes[Int(place)].port)
    let next = unsafe heads[bucket]
    unsafe nodes[Int(place)].next = next
    unsafe nodes[Int(place)].previous = Self.end
    if next != Self.end { unsafe nodes[Int(next)].previous = place }
    unsafe heads[bucket] = place
  }

  mutating func remove(at place: UInt32) {
    guard let nodes = unsafe nodes, let heads = unsafe heads else { return }
    let node = unsafe nodes[Int(place)]
    if node.previous == Self.end {
      unsafe heads[bucket(node.port)] = node.next
    } else {
      unsafe nodes[Int(node.previous)].next = node.next
    }
    if node.next != Self.end { unsafe nodes[Int(node.next)].previous = node.previous }
    unsafe nodes[Int(place)].next = freeHead
    freeHead = place
    count -= 1
  }

  /// Takes out a socket whose place nobody has kept.
  mutating func remove(_ socket: SocketIndex, _ port: UInt16) {
    var cursor = first(port)
    while cursor != Self.end {
      if self.socket(at: cursor) == socket {
        remove(at: cursor)
        return
      }
      cursor = next(cursor, port)
    }
  }

  /// Twice the room; places stay, and chains keep their order.
  private mutating func grow() {
    let larger = max(capacity * 2, 8)
    let freshNodes = UnsafeMutablePointer<Node>.allocate(capacity: larger)
    let freshHeads = UnsafeMutablePointer<UInt32>.allocate(capacity: larger)
    unsafe freshHeads.initialize(repeating: Self.end, count: larger)
    let (old, oldHeads) = unsafe (capacity, heads)
    if let oldNodes = unsafe nodes { unsafe freshNodes.update(from: oldNodes, count: old) }
    unsafe nodes?.deallocate()
    unsafe nodes = freshNodes
    unsafe heads = freshHeads
    mask = larger - 1
    capacity = larger
    for bucket in 0..<old {
      // From the last on, so that each ends up before those that it was before.
      var last = unsafe oldHeads.unsafelyUnwrapped[bucket]
      while last != Self.end, unsafe freshNodes[Int(last)].next != Self.end {
        last = unsafe freshNodes[Int(last)].next
      }
      while last != Self.end {
        let previous = unsafe freshNodes[Int(last)].previous
        link(last)
        last = previous
      }
    }
    unsafe oldHeads?.deallocate()
    freeHead = Self.end
    for place in (UInt32(old)..<UInt32(larger)).reversed() {
      unsafe freshNodes[Int(place)] = Node(socket: .max, next: freeHead, previous: Self.end, port: 0)
      freeHead = place
    }
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
