// SPDX-License-Identifier: GPL-2.0-or-later

// The words of LabCore in rtnetlink's: options of bridges, ports, tunnels. What is nil stays unsaid.

import LabCore
import NetTypes
import Rtnetlink

extension BridgeOptions {
  init(_ bridge: BridgeState) {
    self.init()
    stpState = bridge.stp.map { $0 ? 1 : 0 }
    forwardDelay = bridge.forwardDelay
    helloTime = bridge.helloTime
    maximumAge = bridge.maxAge
    ageingTime = bridge.ageingTime
    priority = bridge.priority
    vlanFiltering = bridge.vlanFiltering
    vlanDefaultPVID = bridge.defaultPVID
    multicastSnooping = bridge.multicastSnooping
  }
}

extension BridgePortOptions {
  init(_ port: LabCore.BridgePortState) {
    self.init()
    isolated = port.isolated
    hairpin = port.hairpin
    learning = port.learning
    unicastFlood = port.flood
    multicastFlood = port.multicastFlood
    bpduGuard = port.guardBPDU
    fastLeave = port.fastLeave
    cost = port.cost
    priority = port.priority
  }
}

extension VXLANOptions {
  /// What can be said at any time; the id, the port and the underlay are for the creation.
  init(_ tunnel: VXLANState) {
    self.init()
    local = tunnel.local
    remote = tunnel.remote
    learning = tunnel.learning
    timeToLive = tunnel.ttl
  }
}

extension MacvlanMode {
  init(_ mode: MacvlanState.Mode) {
    switch mode {
    case .private: self = .isolated
    case .vepa: self = .vepa
    case .bridge: self = .bridge
    case .passthru: self = .passthrough
    case .source: self = .source
    }
  }
}

extension MacvlanState.Mode {
  init(_ mode: MacvlanMode?) {
    switch mode {
    case .isolated: self = .private
    case .vepa, nil: self = .vepa
    case .bridge: self = .bridge
    case .passthrough: self = .passthru
    case .source: self = .source
    }
  }
}

extension LinkMessage {
  /// Changes settings of a bridge port.
  static func port(_ options: BridgePortOptions, index: Int32) -> NetlinkMessage {
    var message = LinkMessage(index: index)
    message.port = .bridge(options)
    return message.request(.change)
  }

  /// Whether the kernel makes a link-local IPv6 address on the device.
  static func addressGeneration(_ on: Bool, index: Int32) -> NetlinkMessage {
    var message = LinkMessage(index: index)
    message.addressGeneration = on ? .eui64 : AddressGeneration.none
    return message.request(.change)
  }

  /// Changes settings of a device's kind.
  static func change(_ kind: Rtnetlink.LinkKind, index: Int32) -> NetlinkMessage {
    var message = LinkMessage(index: index)
    message.kind = kind
    return message.request(.change)
  }
}
