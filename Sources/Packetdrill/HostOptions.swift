// SPDX-License-Identifier: GPL-2.0-or-later

// How the virtual host's device is set up. packetdrill sets up a tun device of the host's from its own options; a stack
// in a shared object is told none of them, but for one string (`--so_flags`), which takes the same options here.

import NetStack
import NetTypes
import Rtnetlink

/// Addresses, routes and MTU of the virtual host's device, by packetdrill's options and with its defaults.
struct HostOptions {
  private var isIPv6 = false
  private var local: IPAddress?
  private var prefixLength: Int?
  private var gateway: IPAddress?
  private var remote: IPPrefix?
  private var mtu: UInt32 = 1500

  /// From `--name=value` words; what concerns packetdrill itself is passed over.
  init(_ text: String) {
    for word in text.split(whereSeparator: \.isWhitespace) {
      let parts = word.drop { $0 == "-" }.split(separator: "=", maxSplits: 1)
      guard parts.count == 2 else { continue }
      switch parts[0] {
      case "ip_version": isIPv6 = parts[1] == "ipv6"
      case "local_ip": local = IPAddress(parts[1])
      case "gateway_ip": gateway = IPAddress(parts[1])
      case "remote_ip": remote = IPPrefix(parts[1])
      case "netmask_ip":
        if case .v4(let mask)? = IPAddress(parts[1]) { prefixLength = mask.rawValue.nonzeroBitCount }
      case "mtu": mtu = UInt32(parts[1]) ?? mtu
      default: break
      }
    }
  }

  private func address(_ text: String) -> IPAddress { IPAddress(text) ?? .any(isIPv6 ? .ipv6 : .ipv4) }

  /// Makes the device and all that packetdrill gives it.
  func configure(
    _ kernel: inout Kernel, _ namespace: NamespaceIndex
  ) throws -> DeviceIndex {
    let local = local ?? address(isIPv6 ? "fd3d:fa7b:d17d::1" : "192.168.0.2")
    let gateway = gateway ?? address(isIPv6 ? "fd3d:fa7b:d17d:8888::1" : "192.168.0.1")
    let remote = remote ?? IPPrefix(isIPv6 ? "2001:db8::1/32" : "192.0.2.1/24")
    try up("lo", nil, &kernel, namespace)
    guard let name = InterfaceName("tun0"),
      let prefix = IPPrefix(local, length: prefixLength ?? (isIPv6 ? 48 : 16))
    else { throw CallFailure.invalid }
    let device = try kernel.makeTunTap(name, in: namespace, TunTap(isTap: false))
    try kernel.setLink(true, of: device)
    // Its packets come and go one by one, as through a tun device's descriptor.
    try kernel.setFeature("generic-receive-offload", false, of: device)
    if isIPv6 {
      try kernel.setSysctl("net/ipv6/conf/tun0/accept_dad", to: "0", in: namespace)
      // What packetdrill does not know of need not be said.
      try kernel.setSysctl("net/ipv6/conf/tun0/addr_gen_mode", to: "1", in: namespace)
      try kernel.setSysctl("net/ipv6/conf/tun0/router_solicitations", to: "0", in: namespace)
    } else {
      try kernel.setSysctl("net/ipv6/conf/all/disable_ipv6", to: "1", in: namespace)
    }
    let number = try up("tun0", mtu, &kernel, namespace)
    try kernel.perform(AddressMessage(prefix, index: number).request(.create), in: namespace)
    var route = RouteMessage(family: isIPv6 ? .ipv6 : .ipv4)
    route.destination = remote
    route.gateway = gateway
    route.outputIndex = number
    route.table = RouteMessage.mainTable
    route.protocolNumber = .boot
    route.type = .unicast
    try kernel.perform(route.request(.create), in: namespace)
    return device
  }

  @discardableResult
  private func up(
    _ name: String, _ mtu: UInt32?, _ kernel: inout Kernel, _ namespace: NamespaceIndex
  ) throws -> Int32 {
    guard let number = kernel.index(of: name, in: namespace) else { throw CallFailure.invalid }
    var link = LinkMessage(index: number)
    link.mtu = mtu
    link.set(.up, true)
    try kernel.perform(link.request(.change), in: namespace)
    return number
  }
}
