// SPDX-License-Identifier: GPL-2.0-or-later

// Packets that are sent to be watched: as a raw socket would send them, but with a number from the start, so that what
// befalls them before they reach a device is told too, and whatever is known of the path's MTU, since where a packet is too
// long is what is to be seen.

public import NetTypes

extension Kernel {
  /// Sends a packet from a namespace; `transport` begins with its transport header. The answer is the number that
  /// capture knows it by. That there is no way is part of what capture tells.
  public mutating func sendWatched(
    _ transport: [UInt8], proto: UInt8, from source: IPAddress, to destination: IPAddress, hopLimit: UInt8,
    in namespace: NamespaceIndex
  ) throws(KernelError) -> UInt32 {
    guard namespaces.contains(namespace) else { throw .noSuchDevice }
    let slot = pool.allocate(length: transport.count)
    guard slot != .none else { throw .noBuffers }
    pool.store(unsafe transport.span.bytes, in: slot)
    let number = capture.nextNumber()
    pool.watch(slot, as: number)
    do throws(KernelError) {
      switch (source, destination) {
      case (.v4(let from), .v4(let to)):
        let datagram = IPv4Datagram(
          source: from.rawValue, destination: to.rawValue, proto: proto, ttl: hopLimit,
          pathMTUDiscovery: .probe)
        var path = try ipv4Route(datagram, in: namespace)
        path.mtu = devices[path.device].mtu
        _ = ipv4Output(slot, datagram, by: path, in: namespace)
      case (.v6(let from), .v6(let to)):
        let datagram = IPv6Datagram(
          source: UInt128(from.high) << 64 | UInt128(from.low),
          destination: UInt128(to.high) << 64 | UInt128(to.low), proto: proto, hopLimit: hopLimit)
        var path = try ipv6Route(datagram, in: namespace)
        path.mtu = devices[path.device].mtu
        _ = ipv6Output(slot, datagram, by: path, in: namespace)
      default: throw .invalidArgument
      }
    } catch {
      drop(slot, .ipOutNoRoutes, in: namespace)
      if error == .invalidArgument { throw error }
    }
    return number
  }
}
