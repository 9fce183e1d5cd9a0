// SPDX-License-Identifier: GPL-2.0-or-later

// What the running kernel can do, tried out in a namespace of its own and remembered for as long as the process lives.
// Only what a lab needs is tried.

import Glibc
import LabCore
import LinuxObjects
import NetTypes
import Netlink
import Nftables
import Rtnetlink

/// A part of the kernel that a distribution may leave out.
enum Feature: String, Hashable, CaseIterable, Sendable {
  case bridge, veth, dummy, vlan, vxlan, macvlan, tun, netem, tokenBucket, bridgeVLANFiltering

  /// What the kernel calls it, and the option that it is built with.
  var name: String {
    switch self {
    case .bridge: "bridges (CONFIG_BRIDGE)"
    case .veth: "veth pairs (CONFIG_VETH)"
    case .dummy: "dummy devices (CONFIG_DUMMY)"
    case .vlan: "VLAN devices (CONFIG_VLAN_8021Q)"
    case .vxlan: "VXLAN tunnels (CONFIG_VXLAN)"
    case .macvlan: "macvlan devices (CONFIG_MACVLAN)"
    case .tun: "tun and tap devices (CONFIG_TUN)"
    case .netem: "the netem queueing discipline (CONFIG_NET_SCH_NETEM)"
    case .tokenBucket: "the tbf queueing discipline (CONFIG_NET_SCH_TBF)"
    case .bridgeVLANFiltering: "VLAN filtering of bridges (CONFIG_BRIDGE_VLAN_FILTERING)"
    }
  }

  var remedy: String {
    switch self {
    case .netem: "use a kernel with it, or leave out delay, loss and their kin"
    default: "use a kernel with it"
    }
  }
}

/// What has been tried, and whether it worked.
struct Capabilities: Sendable {
  private var known: [Feature: Bool] = [:]

  /// Whether the kernel has it; nil when it has not been tried.
  subscript(_ feature: Feature) -> Bool? {
    get { known[feature] }
    set { known[feature] = newValue }
  }
}

extension Feature {
  /// What a lab needs, and the first object that needs it, in the order of the lab's namespaces.
  static func needs(of state: LabState) -> [(feature: Feature, path: StatePath)] {
    var seen: Set<Feature> = []
    var result: [(feature: Feature, path: StatePath)] = []
    for namespace in state.namespaces {
      for object in namespace.objects {
        for feature in needs(of: object) where seen.insert(feature).inserted {
          result.append((feature, object.path(in: namespace.id)))
        }
      }
    }
    return result
  }

  private static func needs(of object: StateObject) -> [Feature] {
    switch object {
    case .link(let link):
      var features: [Feature] = []
      switch link.kind {
      case .veth: features.append(.veth)
      case .bridge(let bridge):
        features.append(.bridge)
        if bridge.vlanFiltering == true || bridge.defaultPVID != nil { features.append(.bridgeVLANFiltering) }
      case .dummy: features.append(.dummy)
      case .vlan: features.append(.vlan)
      case .vxlan: features.append(.vxlan)
      case .macvlan: features.append(.macvlan)
      case .tuntap: features.append(.tun)
      case .loopback, .external, .other: break
      }
      if link.port?.vlans != nil { features.append(.bridgeVLANFiltering) }
      return features
    case .fdb(let entry): return entry.vlan == nil ? [] : [.bridgeVLANFiltering]
    case .qdisc(let qdisc):
      switch qdisc.kind {
      case .netem: return [.netem]
      case .tokenBucket: return [.tokenBucket]
      case .other: return []
      }
    default: return []
    }
  }

  /// Tries the feature in an empty namespace. What fails for another reason than its absence is taken to be there:
  /// the change itself will say what is wrong.
  func probe(in channel: HostChannel) throws(TransportError) -> Bool {
    if self == .tun {
      guard let name = InterfaceName("nf-tun") else { return true }
      do throws(TransportError) {
        try channel.makeTunTap(name, index: nil, TunTapState(mode: .tap))
        return true
      } catch {
        return ![ENOENT, ENODEV, ENXIO].contains(error.errno)
      }
    }
    for refusal in try channel.transact(messages) {
      guard let refusal, refusal.errno != EEXIST else { continue }
      return ![EOPNOTSUPP, ENOENT, EPROTONOSUPPORT, EAFNOSUPPORT].contains(refusal.errno)
    }
    return true
  }

  private var messages: [NetlinkMessage] {
    let index = Int32(1000 + (Self.allCases.firstIndex(of: self) ?? 0) * 10)
    switch self {
    case .bridge: return [Self.device(index, .bridge(BridgeOptions()))]
    case .veth:
      return [Self.device(index, .veth(peer: LinkMessage(index: index + 1, name: "nf-\(index + 1)")))]
    case .dummy: return [Self.device(index, .dummy)]
    case .vlan:
      var options = VLANOptions()
      options.identifier = 1
      return Self.onBridge(index, .vlan(options))
    case .vxlan:
      var options = VXLANOptions()
      options.identifier = 1
      return [Self.device(index, .vxlan(options))]
    case .macvlan:
      var options = MacvlanOptions()
      options.mode = .bridge
      return Self.onBridge(index, .macvlan(options))
    case .bridgeVLANFiltering:
      var options = BridgeOptions()
      options.vlanFiltering = true
      return [Self.device(index, .bridge(options))]
    case .netem: return [QdiscMessage(index: 1, kind: .netem(NetemOptions())).request(.createOrReplace)]
    case .tokenBucket:
      let options = TBFOptions(rate: 1_000_000, burst: 32_768, limit: 65_536)
      return [QdiscMessage(index: 1, kind: .tbf(options)).request(.createOrReplace)]
    case .tun: return []
    }
  }

  private static func device(_ index: Int32, _ kind: Rtnetlink.LinkKind) -> NetlinkMessage {
    var message = LinkMessage(index: index, name: "nf-\(index)")
    message.kind = kind
    return message.request(.create)
  }

  private static func onBridge(_ index: Int32, _ kind: Rtnetlink.LinkKind) -> [NetlinkMessage] {
    var message = LinkMessage(index: index + 1, name: "nf-\(index + 1)")
    message.kind = kind
    message.lowerIndex = index
    return [device(index, .bridge(BridgeOptions())), message.request(.create)]
  }
}
