// SPDX-License-Identifier: GPL-2.0-or-later

// Generic receive offload (net/core/gro.c dev_gro_receive, net/ipv4/af_inet.c inet_gro_receive, tcp_offload.c
// tcp_gro_receive; net/ipv6/ip6_offload.c): segments of one flow that come one after the other become one packet, of which
// cutting would make them again, byte for byte. What is held goes up at the end of the poll at the latest, so that the
// number of packets that go through the stages together changes nothing.

/// A flow of which a poll holds what has come.
struct GROFlow: BitwiseCopyable {
  var head = Slot.none
  /// The last that was joined to it, or itself.
  var last = Slot.none
  /// Segments, and the payload of each.
  var count: UInt16 = 0
  var size: UInt16 = 0
  var layout: GROLayout = .none
  /// The sequence number that goes on.
  var next: UInt32 = 0
  /// All have one identification (`ip_fixedid`).
  var hasFixedID = false
}

/// Where the headers of a frame are that may be joined.
struct GROLayout: BitwiseCopyable, Equatable {
  var isIPv6 = false
  var transport: UInt16 = 0
  var payload: UInt16 = 0

  static let none = GROLayout()
}

/// What may be done with a frame.
enum GROFitness {
  case joinable
  /// It goes up by itself, and what is held of its flow before it.
  case alone
  /// It is a piece of a packet, or a sum is wrong, so that nobody looks whose it is: what is held stays.
  case aside
}

/// The flows that a poll holds, oldest first.
struct GROList: ~Copyable {
  /// MAX_GRO_SKBS.
  static let limit = 8

  private let passing = PassedByAddress()
  private var flows = InlineArray<8, GROFlow>(repeating: GROFlow())
  private(set) var count = 0

  init() {}

  @inline(__always) var isEmpty: Bool { count == 0 }

  subscript(place: Int) -> GROFlow {
    get { flows[place] }
    set { flows[place] = newValue }
  }

  mutating func append(_ flow: GROFlow) {
    flows[count] = flow
    count += 1
  }

  mutating func remove(at place: Int) -> GROFlow {
    let flow = flows[place]
    count -= 1
    for index in place..<count { flows[index] = flows[index + 1] }
    return flow
  }
}

extension Kernel {
  /// Takes frames that came in by a device through its offload and up, and keeps what may be joined. The burst is empty
  /// afterwards.
  mutating func groReceive(_ burst: inout Burst, on index: DeviceIndex) {
    var first = 0
    while first < burst.count, !Self.isTCP(pool.bytes(burst[first])) { first &+= 1 }
    guard first < burst.count else {
      receive(&burst, on: index)
      return
    }
    var ready = Burst()
    for position in 0..<burst.count {
      // One more may go with it.
      if ready.count >= min(options.burst, Burst.capacity - 1) { receive(&ready, on: index) }
      let slot = burst[position]
      if position == first || position > first && Self.isTCP(pool.bytes(slot)) {
        groReceiveTCP(slot, &ready, on: index)
      } else {
        ready.append(slot)
      }
    }
    burst.removeAll()
    if !ready.isEmpty { receive(&ready, on: index) }
  }

  /// What is held goes up (napi_gro_flush).
  mutating func groFlush(on index: DeviceIndex) {
    guard !cpu.joining.isEmpty else { return }
    var ready = Burst()
    while !cpu.joining.isEmpty {
      groComplete(cpu.joining.remove(at: 0), &ready)
      if ready.count >= options.burst { receive(&ready, on: index) }
    }
    if !ready.isEmpty { receive(&ready, on: index) }
  }

  @inline(__always) private static func isTCP(_ frame: PacketBytes) -> Bool {
    guard frame.count >= EthernetHeader.length + IPv4Header.length else { return false }
    return switch frame.u16(EthernetHeader.type) {
    case 0x0800: frame.u8(EthernetHeader.length + IPv4Header.proto) == 6
    case 0x86dd: frame.u8(EthernetHeader.length + IPv6Header.nextHeader) == 6
    default: false
    }
  }

  /// dev_gro_receive.
  @inline(never)
  private mutating func groReceiveTCP(
    _ slot: Slot, _ ready: inout Burst, on index: DeviceIndex
  ) {
    let frame = pool.bytes(slot)
    guard let layout = groLayout(slot, frame) else {
      ready.append(slot)
      return
    }
    let fitness = fitness(of: slot, frame, layout)
    guard fitness != .aside else {
      ready.append(slot)
      return
    }
    let place = (0..<cpu.joining.count).first { isSameFlow(frame, layout, cpu.joining[$0]) }
    let length = Int(pool[slot].length) - Int(layout.payload)
    let tcp = frame.dropFirst(Int(layout.transport))
    let flags = TCPFlags(rawValue: tcp.u8(TCPHeader.flags))
    let ends = !flags.isDisjoint(with: [.urg, .psh, .rst, .syn, .fin])
    if let place {
      var flow = cpu.joining[place]
      if fitness == .joinable, continues(frame, layout, length, flags, &flow) {
        devices[index].statistics.rxPackets &+= 1
        devices[index].statistics.rxBytes &+= UInt64(layout.payload)
        join(slot, layout, length, flags, to: &flow)
        cpu.joining[place] = flow
        if ends || length < Int(flow.size) { groComplete(cpu.joining.remove(at: place), &ready) }
        return
      }
      groComplete(cpu.joining.remove(at: place), &ready)
    }
    guard fitness == .joinable, length > 0, !ends, pool.makeWritable(slot) else {
      ready.append(slot)
      return
    }
    if cpu.joining.count == GROList.limit { groComplete(cpu.joining.remove(at: 0), &ready) }
    cpu.joining.append(
      GROFlow(
        head: slot, last: slot, count: 1, size: UInt16(length), layout: layout,
        next: tcp.u32(TCPHeader.sequence) &+ UInt32(length)))
  }

  /// Where the headers are of a frame that has all of them where they are usual; nil else.
  private func groLayout(_ slot: Slot, _ frame: PacketBytes) -> GROLayout? {
    let isIPv6 = frame.u16(EthernetHeader.type) == 0x86dd
    let transport = EthernetHeader.length + (isIPv6 ? IPv6Header.length : IPv4Header.length)
    guard frame.count >= transport + TCPHeader.length, isIPv6 || frame.u8(EthernetHeader.length) == 0x45
    else {
      return nil
    }
    let header = Int(frame.u8(transport + TCPHeader.dataOffset) >> 4) * 4
    guard header >= TCPHeader.length, frame.count >= transport + header else { return nil }
    return GROLayout(isIPv6: isIPv6, transport: UInt16(transport), payload: UInt16(transport + header))
  }

  private func isSameFlow(_ frame: PacketBytes, _ layout: GROLayout, _ flow: GROFlow) -> Bool {
    guard layout.isIPv6 == flow.layout.isIPv6 else { return false }
    let head = pool.bytes(flow.head)
    let transport = Int(layout.transport)
    guard frame.u48(0) == head.u48(0), frame.u48(6) == head.u48(6),
      frame.u32(transport) == head.u32(transport)
    else { return false }
    let addresses =
      EthernetHeader.length + (layout.isIPv6 ? IPv6Header.source : IPv4Header.source)
    for offset in stride(from: addresses, to: transport, by: 4)
    where frame.u32(offset) != head.u32(offset) { return false }
    return !layout.isIPv6
      || (frame.u32(EthernetHeader.length) ^ head.u32(EthernetHeader.length)) & 0xf_ffff == 0
  }

  /// Whether a frame is one that cutting could make: whole, right, without padding or a tag, of one piece
  /// (inet_gro_receive, tcp4_gro_receive, which look in this order).
  private mutating func fitness(
    of slot: Slot, _ frame: PacketBytes, _ layout: GROLayout
  ) -> GROFitness {
    let network = frame.dropFirst(EthernetHeader.length)
    let length = Int(pool[slot].length) - EthernetHeader.length
    if layout.isIPv6 {
      guard Int(network.u16(IPv6Header.payloadLength)) + IPv6Header.length == length else { return .alone }
    } else {
      let isPiece =
        network.u16(IPv4Header.fragment) & (IPv4Header.moreFragments | IPv4Header.offsetMask) != 0
      guard !isPiece, network.ipv4Checksum() == 0 else { return .aside }
      guard Int(network.u16(IPv4Header.totalLength)) == length else { return .alone }
    }
    guard !pool.hasList(slot), pool[slot].vlanProtocol == 0, pool[slot].gsoType == .none else {
      return .alone
    }
    guard pool[slot].checksumState == .none else { return .joinable }
    // Whoever needs the sum would make it now (skb_gro_checksum_validate).
    guard pool[slot].dataLength == 0 else { return .alone }
    guard TransportOffsets(of: frame)?.isChecksumGood(in: frame) == true else { return .aside }
    pool[slot].checksumState = .unnecessary
    return .joinable
  }

  /// Whether a frame goes on where a flow ends, and differs from it in nothing that cutting could not make again
  /// (inet_gro_flush, tcp_gro_receive).
  private func continues(
    _ frame: PacketBytes, _ layout: GROLayout, _ length: Int, _ flags: TCPFlags, _ flow: inout GROFlow
  ) -> Bool {
    let head = pool.bytes(flow.head)
    let (network, first) = (frame.dropFirst(EthernetHeader.length), head.dropFirst(EthernetHeader.length))
    if layout.isIPv6 {
      guard network.u32(0) == first.u32(0), network.u8(IPv6Header.hopLimit) == first.u8(IPv6Header.hopLimit)
      else { return false }
    } else {
      guard network.u8(IPv4Header.ttl) == first.u8(IPv4Header.ttl),
        network.u8(IPv4Header.typeOfService) == first.u8(IPv4Header.typeOfService),
        network.u16(IPv4Header.fragment) == first.u16(IPv4Header.fragment)
      else { return false }
      let distance = network.u16(IPv4Header.identification) &- first.u16(IPv4Header.identification)
      // Since 6.18 also of what may be cut.
      if flow.count == 1, distance == 0 { flow.hasFixedID = true }
      guard distance == (flow.hasFixedID ? 0 : flow.count) else { return false }
    }
    let (tcp, own) = (frame.dropFirst(Int(layout.transport)), head.dropFirst(Int(layout.transport)))
    let differs =
      tcp.u32(TCPHeader.acknowledgment) ^ own.u32(TCPHeader.acknowledgment)
      | (tcp.u32(TCPHeader.dataOffset) ^ own.u32(TCPHeader.dataOffset)) & ~0x0009_0000
    guard differs == 0, !flags.contains(.cwr), layout.payload == flow.layout.payload, length > 0,
      length <= Int(flow.size), tcp.u32(TCPHeader.sequence) == flow.next,
      Int(pool[flow.head].length) - EthernetHeader.length + length < 65536
    else { return false }
    for offset in stride(from: TCPHeader.length, to: Int(layout.payload &- layout.transport), by: 4)
    where tcp.u32(offset) != own.u32(offset) { return false }
    return true
  }

  /// skb_gro_receive.
  private mutating func join(
    _ slot: Slot, _ layout: GROLayout, _ length: Int, _ flags: TCPFlags, to flow: inout GROFlow
  ) {
    let place = Int(layout.transport) + TCPHeader.flags
    let head = pool.bytes(flow.head)
    head.set(place, u8: head.u8(place) | flags.intersection([.fin, .psh]).rawValue)
    pool.orphan(slot)
    pool.orphan(flow.head)
    pool.pull(slot, Int(layout.payload))
    pool.join(slot, to: flow.head, behind: flow.last)
    flow.last = slot
    flow.count += 1
    flow.next &+= UInt32(length)
    cpu.statistics.joined &+= 1
  }

  /// Makes one packet of what was joined (inet_gro_complete, tcp_gro_complete).
  private mutating func groComplete(_ flow: GROFlow, _ ready: inout Burst) {
    let slot = flow.head
    ready.append(slot)
    guard flow.count > 1 else { return }
    let frame = pool.bytes(slot)
    let network = frame.dropFirst(EthernetHeader.length)
    let transport = Int(flow.layout.transport)
    let total = Int(pool[slot].length)
    let pseudo: UInt64
    if flow.layout.isIPv6 {
      network.set(
        IPv6Header.payloadLength, u16: UInt16(total - EthernetHeader.length - IPv6Header.length))
      pseudo = network.ipv6PseudoSum(length: total - transport, proto: 6)
    } else {
      network.set(IPv4Header.totalLength, u16: UInt16(total - EthernetHeader.length))
      network.set(IPv4Header.checksum, u16: 0)
      network.set(IPv4Header.checksum, u16: network.prefix(IPv4Header.length).checksum())
      pseudo = pseudoHeaderSum(
        network.u32(IPv4Header.source), network.u32(IPv4Header.destination), 6, total - transport)
    }
    frame.dropFirst(transport).set(TCPHeader.checksum, u16: UInt16(bigEndian: foldChecksum(pseudo)))
    pool[slot].checksumState = .partial
    pool[slot].checksumStart = pool[slot].dataOffset &+ flow.layout.transport
    pool[slot].checksumOffset = UInt16(TCPHeader.checksum)
    pool.setSegmentation(
      slot, flow.layout.isIPv6 ? .tcp6 : flow.hasFixedID ? .tcp4FixedID : .tcp4, size: flow.size,
      segments: flow.count)
  }
}
