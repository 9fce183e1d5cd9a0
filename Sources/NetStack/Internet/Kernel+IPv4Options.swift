// SPDX-License-Identifier: GPL-2.0-or-later

// Options of IPv4 (RFC 791 3.1, 1122 3.2.1.8, 1812 5.2.4, 5.3.13; net/ipv4/ip_options.c): they are read when the way of a
// packet is known, filled in on the way out, and answered with what becomes of them on the way back. A label of CIPSO is
// passed over like any option that nobody knows.
//
//    0      1        2
//    │ type │ length │ pointer │ addresses …                         record route, source routes
//    │ type │ length │ pointer │ overflow, form │ times …            timestamp; the pointer counts from one

import NetTypes
import Rtnetlink

extension Kernel {
  /// Whether there is anything behind the twenty bytes of a header.
  @inline(__always) func hasOptions(_ slot: Slot) -> Bool { pool.bytes(slot).u8(0) & 15 > 5 }

  /// The time of day, in milliseconds of universal time (inet_current_timestamp).
  var timeOfDay: UInt32 { UInt32(truncatingIfNeeded: max(cpu.now, 0) / 1_000_000 % 86_400_000) }

  // MARK: In

  /// Takes a packet with options. What they ask of this host is done before the packet goes where it was to go
  /// (ip_rcv_options).
  @inline(never)
  mutating func ipv4ReceiveOptions(_ slot: Slot, on index: DeviceIndex, _ namespace: NamespaceIndex) {
    var flow = ipv4Flow(
      of: slot, pool.bytes(slot).u32(IPv4Header.source), pool.bytes(slot).u32(IPv4Header.destination),
      on: index, namespace)
    var route = RouteResult<UInt32>.none
    var decision = decide(flow, pool[slot].packetType, on: index, namespace, &route)
    if case .drop(let reason) = decision {
      if devices[index].ipv4.logsMartians { logMartian(reason, flow, slot, on: index) }
      drop(slot, reason, in: namespace)
      return
    }
    guard pool.makeWritable(slot) else {
      namespaces[namespace].snmp[.ipInDiscards] &+= 1
      drop(slot, .noMemory, in: namespace)
      return
    }
    var control = IPv4Control()
    control.largestPiece = pool.ipv4Control(slot).largestPiece
    control.flags = pool.ipv4Control(slot).flags.intersection(.keepsPieces)
    let fault = compileOptions(slot, &control, decision, in: namespace)
    pool.setIPv4Control(control, of: slot)
    if let fault {
      icmpError(for: slot, .parameterProblem, code: 0, information: UInt32(fault) << 24)
      namespaces[namespace].snmp[.ipInHdrErrors] &+= 1
      drop(slot, .ipInvalidHeader, in: namespace)
      return
    }
    if control.sourceRoute != 0 {
      guard devices[index].ipv4.acceptsSourceRoutes else {
        if devices[index].ipv4.logsMartians {
          log(
            "source route option \(IPv4Address(rawValue: flow.source)) -> \(IPv4Address(rawValue: flow.destination))",
            slot, on: index)
        }
        drop(slot, .ipInvalidHeader, in: namespace)
        return
      }
      guard followSourceRoute(slot, &flow, &decision, &route, on: index, namespace) else {
        drop(slot, .ipInvalidHeader, in: namespace)
        return
      }
    }
    switch decision {
    case .deliver, .multicast: ipv4Deliver(slot, in: namespace)
    case .forward, .forwardBack:
      let redirects = if case .forwardBack = decision { control.sourceRoute == 0 } else { false }
      ipv4ForwardSlowly(
        slot, route.gateway != 0 ? route.gateway : flow.destination, by: route.device,
        route.mtu != 0 ? Int(route.mtu) : devices[route.device].mtu, redirects: redirects, from: index,
        namespace)
    case .refuse(let outcome): ipv4Refuse(slot, outcome, on: index, namespace)
    case .drop(let reason): drop(slot, reason, in: namespace)
    }
  }

  /// Reads the options of a packet and writes into them what this host has to say (__ip_options_compile). The answer is
  /// where the first fault is, from the header's first byte.
  private mutating func compileOptions(
    _ slot: Slot, _ control: inout IPv4Control, _ decision: IPv4Decision, in namespace: NamespaceIndex
  ) -> Int? {
    let bytes = pool.bytes(slot)
    let end = bytes.ipv4HeaderLength
    var place = IPv4Header.length
    while place < end {
      let type = bytes.u8(place)
      if type == IPv4Option.end {
        for rest in place..<end { bytes.set(rest, u8: 0) }
        return nil
      }
      if type == IPv4Option.noOperation {
        place += 1
        continue
      }
      guard end - place >= 2 else { return place }
      let length = Int(bytes.u8(place + 1))
      guard length >= 2, length <= end - place else { return place }
      let option = bytes.dropFirst(place).prefix(length)
      let fault: Int? =
        switch type {
        case IPv4Option.looseSourceRoute, IPv4Option.strictSourceRoute:
          compileSourceRoute(option, place, &control)
        case IPv4Option.recordRoute:
          compileRecordRoute(slot, option, place, &control, decision, in: namespace)
        case IPv4Option.timestamp: compileTimestamp(slot, option, place, &control, decision, in: namespace)
        case IPv4Option.routerAlert where length < 4: 1
        default: nil
        }
      if let fault { return place + fault }
      place += length
    }
    return nil
  }

  private func compileSourceRoute(
    _ option: PacketBytes, _ place: Int, _ control: inout IPv4Control
  ) -> Int? {
    guard option.count >= 3 else { return 1 }
    guard option.u8(2) >= 4 else { return 2 }
    guard control.sourceRoute == 0 else { return 0 }
    if option.u8(0) == IPv4Option.strictSourceRoute { control.flags.insert(.isStrict) }
    control.sourceRoute = UInt8(place)
    return nil
  }

  private mutating func compileRecordRoute(
    _ slot: Slot, _ option: PacketBytes, _ place: Int, _ control: inout IPv4Control,
    _ decision: IPv4Decision, in namespace: NamespaceIndex
  ) -> Int? {
    guard control.recordRoute == 0 else { return 0 }
    guard option.count >= 3 else { return 1 }
    let pointer = Int(option.u8(2))
    guard pointer >= 4 else { return 2 }
    if pointer <= option.count {
      guard pointer + 3 <= option.count else { return 2 }
      option.set(pointer - 1, u32: specificDestination(of: slot, decision, in: namespace))
      option.set(2, u8: UInt8(pointer + 4))
      control.flags.insert(.recordsAddress)
    }
    control.recordRoute = UInt8(place)
    return nil
  }

  private mutating func compileTimestamp(
    _ slot: Slot, _ option: PacketBytes, _ place: Int, _ control: inout IPv4Control,
    _ decision: IPv4Decision, in namespace: NamespaceIndex
  ) -> Int? {
    guard control.timestamp == 0 else { return 0 }
    guard option.count >= 4 else { return 1 }
    let pointer = Int(option.u8(2))
    guard pointer >= 5 else { return 2 }
    let form = option.u8(3) & 15
    if pointer <= option.count {
      guard pointer + 3 <= option.count else { return 2 }
      if form == IPv4Option.timesOnly {
        option.set(pointer - 1, u32: timeOfDay)
        option.set(2, u8: UInt8(pointer + 4))
        control.flags.insert(.stampsTime)
      } else if form == IPv4Option.timesWithAddresses || form == IPv4Option.timesOfNamed {
        guard pointer + 7 <= option.count else { return 2 }
        if form == IPv4Option.timesWithAddresses {
          option.set(pointer - 1, u32: specificDestination(of: slot, decision, in: namespace))
          control.flags.insert(.stampsAddress)
        }
        // Of those that are named only this host has anything to say.
        if form == IPv4Option.timesWithAddresses
          || addressType(option.u32(pointer - 1), in: namespace) != .unicast
        {
          option.set(pointer + 3, u32: timeOfDay)
          option.set(2, u8: UInt8(pointer + 8))
          control.flags.insert(.stampsTime)
        }
      }
    } else if form != IPv4Option.timesOfNamed {
      guard option.u8(3) >> 4 < 15 else { return 3 }
      option.set(3, u8: option.u8(3) &+ 16)
    }
    control.timestamp = UInt8(place)
    return nil
  }

  /// The address that a packet means this host by (fib_compute_spec_dst).
  private mutating func specificDestination(
    of slot: Slot, _ decision: IPv4Decision, in namespace: NamespaceIndex
  ) -> UInt32 {
    let bytes = pool.bytes(slot)
    let (source, destination) = (bytes.u32(IPv4Header.source), bytes.u32(IPv4Header.destination))
    if case .deliver = decision, lookup(destination, in: namespace).type == .local { return destination }
    let index = DeviceIndex(pool[slot].device)
    guard source != 0 else { return selectSource(source, on: index, scope: RouteScope.link.rawValue) }
    var flow = Flow(destination: source)
    flow.inputDevice = loopback(of: namespace)
    flow.typeOfService = bytes.u8(IPv4Header.typeOfService) & 0xfc
    flow.mark = devices[index].ipv4.validMark ? pool[slot].mark : 0
    return preferredSource(flow, orOf: index, source, in: namespace)
  }

  /// The address of this host's that a packet leaves from (ip_rt_get_source).
  private mutating func leavingAddress(
    of slot: Slot, _ nextHop: UInt32, by egress: DeviceIndex, in namespace: NamespaceIndex
  ) -> UInt32 {
    let bytes = pool.bytes(slot)
    var flow = Flow(destination: bytes.u32(IPv4Header.destination))
    flow.source = bytes.u32(IPv4Header.source)
    flow.typeOfService = bytes.u8(IPv4Header.typeOfService) & 0xfc
    flow.outputDevice = egress
    flow.inputDevice = DeviceIndex(pool[slot].device)
    flow.mark = pool[slot].mark
    return preferredSource(flow, orOf: egress, nextHop, in: namespace)
  }

  /// The source that a route says (fib_result_prefsrc), or that a device has.
  private mutating func preferredSource(
    _ flow: Flow<UInt32>, orOf device: DeviceIndex, _ destination: UInt32, in namespace: NamespaceIndex
  ) -> UInt32 {
    let result = namespaces[namespace].routes.lookup(flow)
    guard !result.type.isError else {
      return selectSource(destination, on: device, scope: RouteScope.universe.rawValue)
    }
    return result.preferredSource != 0
      ? result.preferredSource : selectSource(result.gateway, on: result.device, scope: result.scope)
  }

  /// Finds the next router that a source route names (ip_options_rcv_srr). False: the packet has come by a wrong way.
  private mutating func followSourceRoute(
    _ slot: Slot, _ flow: inout Flow<UInt32>, _ decision: inout IPv4Decision,
    _ route: inout RouteResult<UInt32>, on index: DeviceIndex, _ namespace: NamespaceIndex
  ) -> Bool {
    guard pool[slot].packetType == .host else { return false }
    var control = pool.ipv4Control(slot)
    switch route.type {
    case .unicast:
      guard control.flags.contains(.isStrict) else { return true }
      icmpError(for: slot, .parameterProblem, code: 0, information: 16 << 24)
      return false
    case .local: break
    default: return false
    }
    let bytes = pool.bytes(slot)
    let option = bytes.dropFirst(Int(control.sourceRoute))
    let end = Int(option.u8(1))
    var pointer = Int(option.u8(2))
    while pointer <= end {
      guard pointer + 3 <= end else {
        icmpError(
          for: slot, .parameterProblem, code: 0, information: (UInt32(control.sourceRoute) + 2) << 24)
        return false
      }
      let nextHop = option.u32(pointer - 1)
      flow.destination = nextHop
      decision = decide(flow, pool[slot].packetType, on: index, namespace, &route)
      switch decision {
      case .forward, .forwardBack:
        control.flags.insert(.isOnSourceRoute)
        control.nextHop = nextHop
        pool.setIPv4Control(control, of: slot)
        return true
      case .deliver where route.type == .local: bytes.set(IPv4Header.destination, u32: nextHop)
      default: return false
      }
      pointer += 4
    }
    return true
  }

  // MARK: Onwards

  /// Fills in the options of a packet that is passed on (ip_forward_options).
  mutating func forwardOptions(
    _ slot: Slot, _ nextHop: UInt32, by egress: DeviceIndex, in namespace: NamespaceIndex
  ) {
    let control = pool.ipv4Control(slot)
    guard control.hasOptions else { return }
    let bytes = pool.bytes(slot)
    if control.flags.contains(.recordsAddress) {
      let option = bytes.dropFirst(Int(control.recordRoute))
      option.set(
        Int(option.u8(2)) - 5, u32: leavingAddress(of: slot, nextHop, by: egress, in: namespace))
    }
    if control.flags.contains(.isOnSourceRoute) {
      let option = bytes.dropFirst(Int(control.sourceRoute))
      let end = Int(option.u8(1))
      var pointer = Int(option.u8(2))
      while pointer + 3 <= end, option.u32(pointer - 1) != control.nextHop { pointer += 4 }
      if pointer + 3 <= end {
        bytes.set(IPv4Header.destination, u32: control.nextHop)
        option.set(pointer - 1, u32: leavingAddress(of: slot, nextHop, by: egress, in: namespace))
        option.set(2, u8: UInt8(pointer + 4))
      }
      if control.flags.contains(.stampsAddress) {
        let option = bytes.dropFirst(Int(control.timestamp))
        option.set(
          Int(option.u8(2)) - 9, u32: leavingAddress(of: slot, nextHop, by: egress, in: namespace))
      }
    }
    bytes.set(IPv4Header.checksum, u16: 0)
    bytes.set(IPv4Header.checksum, u16: bytes.prefix(bytes.ipv4HeaderLength).checksum())
  }

  /// Takes out of a header what only the first piece of a datagram has (ip_options_fragment).
  func removeUncopiedOptions(_ bytes: PacketBytes) {
    let end = bytes.ipv4HeaderLength
    var place = IPv4Header.length
    while place < end {
      let type = bytes.u8(place)
      if type == IPv4Option.end { return }
      guard type != IPv4Option.noOperation else {
        place += 1
        continue
      }
      guard end - place >= 2, case let length = Int(bytes.u8(place + 1)), length >= 2, length <= end - place
      else { return }
      if !IPv4Option.isCopied(type) {
        for byte in place..<place + length { bytes.set(byte, u8: IPv4Option.noOperation) }
      }
      place += length
    }
  }

  // MARK: Back

  /// Puts what an answer to a packet has of its options in front of the answer (__ip_options_echo), `header` bytes of
  /// which are given up. The destination is the first router of the way back, if a way was given. False: there is no
  /// room for what would have to be said.
  mutating func echoOptions(
    of slot: Slot, into answer: Slot, instead header: Int, _ datagram: inout IPv4Datagram,
    in namespace: NamespaceIndex
  ) -> Bool {
    let control = pool.ipv4Control(slot)
    let most = 40
    if control.hasOptions {
      guard pool.push(answer, most) else { return false }
      let bytes = pool.bytes(answer)
      guard echoOptions(of: slot, control, into: bytes, &datagram, in: namespace) else { return false }
      // The answer may be the packet itself, whose header has been read now.
      let length = Int(datagram.control.length)
      let place = most + header - length
      bytes.dropFirst(place).copy(from: bytes.prefix(length))
      pool.pull(answer, place)
    } else {
      pool.pull(answer, header)
    }
    return true
  }

  private mutating func echoOptions(
    of slot: Slot, _ control: IPv4Control, into buffer: PacketBytes, _ datagram: inout IPv4Datagram,
    in namespace: NamespaceIndex
  ) -> Bool {
    let header = pool.bytes(slot, from: pool[slot].networkHeader)
    var answer = IPv4Control()
    var end = 0
    if control.recordRoute != 0 {
      let option = header.dropFirst(Int(control.recordRoute))
      let length = Int(option.u8(1))
      let pointer = Int(option.u8(2))
      answer.recordRoute = UInt8(IPv4Header.length + end)
      let copy = buffer.dropFirst(end).prefix(length)
      copy.copy(from: option.prefix(length))
      if control.flags.contains(.recordsAddress), pointer <= length {
        guard pointer + 3 <= length else { return false }
        copy.set(2, u8: UInt8(pointer + 4))
        answer.flags.insert(.recordsAddress)
      }
      end += length
    }
    if control.timestamp != 0 {
      let option = header.dropFirst(Int(control.timestamp))
      let length = Int(option.u8(1))
      answer.timestamp = UInt8(IPv4Header.length + end)
      let copy = buffer.dropFirst(end).prefix(length)
      copy.copy(from: option.prefix(length))
      guard echoTimestamp(copy, control, &answer, in: namespace) else { return false }
      end += length
    }
    if control.sourceRoute != 0 {
      let option = header.dropFirst(Int(control.sourceRoute))
      let length = echoSourceRoute(
        option, into: buffer.dropFirst(end), from: header.u32(IPv4Header.source), &datagram)
      if length > 0 {
        answer.sourceRoute = UInt8(IPv4Header.length + end)
        if control.flags.contains(.isStrict) { answer.flags.insert(.isStrict) }
        end += length
      }
    }
    while end & 3 != 0 {
      buffer.set(end, u8: IPv4Option.end)
      end += 1
    }
    answer.length = UInt8(end)
    datagram.control = answer
    return true
  }

  private mutating func echoTimestamp(
    _ copy: PacketBytes, _ control: IPv4Control, _ answer: inout IPv4Control, in namespace: NamespaceIndex
  ) -> Bool {
    let length = copy.count
    var pointer = Int(copy.u8(2))
    guard pointer <= length else { return true }
    if control.flags.contains(.stampsAddress) {
      guard pointer + 3 <= length else { return false }
      answer.flags.insert(.stampsAddress)
      pointer += 4
    }
    if control.flags.contains(.stampsTime) {
      guard pointer + 3 <= length else { return false }
      if copy.u8(3) & 15 != IPv4Option.timesOfNamed {
        answer.flags.insert(.stampsTime)
        pointer += 4
      } else if pointer + 7 <= length, addressType(copy.u32(pointer - 1), in: namespace) != .unicast {
        answer.flags.insert(.stampsTime)
        pointer += 8
      }
    }
    copy.set(2, u8: UInt8(pointer))
    return true
  }

  /// The way that a packet has come, the other way round. The answer is its bytes; 0: there is nothing to be named.
  private func echoSourceRoute(
    _ option: PacketBytes, into buffer: PacketBytes, from source: UInt32, _ datagram: inout IPv4Datagram
  ) -> Int {
    let end = Int(option.u8(1))
    // The last router that was passed is the first of the way back.
    var place = min(Int(option.u8(2)), end + 1) - 4
    guard place > 3 else { return 0 }
    let first = option.u32(place - 1)
    var length = 4
    place -= 4
    while place > 3 {
      buffer.set(length - 1, u32: option.u32(place - 1))
      length += 4
      place -= 4
    }
    // Who names himself in his own route is not named twice (RFC 1812 5.2.4.1).
    if option.u32(place + 3) == source { length -= 4 }
    guard length > 3 else { return 0 }
    datagram.finalDestination = datagram.destination
    datagram.destination = first
    buffer.set(0, u8: option.u8(0))
    buffer.set(1, u8: UInt8(length + 3))
    buffer.set(2, u8: 4)
    return length + 3
  }

  /// Fills in the options of an answer, which stand behind its header (ip_options_build).
  func buildOptions(_ bytes: PacketBytes, _ datagram: IPv4Datagram, from source: UInt32) {
    let control = datagram.control
    if control.sourceRoute != 0 {
      let option = bytes.dropFirst(Int(control.sourceRoute))
      option.set(Int(option.u8(1)) - 4, u32: datagram.finalDestination)
    }
    if control.flags.contains(.recordsAddress) {
      let option = bytes.dropFirst(Int(control.recordRoute))
      option.set(Int(option.u8(2)) - 5, u32: source)
    }
    if control.flags.contains(.stampsAddress) {
      let option = bytes.dropFirst(Int(control.timestamp))
      option.set(Int(option.u8(2)) - 9, u32: source)
    }
    if control.flags.contains(.stampsTime) {
      let option = bytes.dropFirst(Int(control.timestamp))
      option.set(Int(option.u8(2)) - 5, u32: timeOfDay)
    }
  }
}
