// SPDX-License-Identifier: GPL-2.0-or-later

// Duplicate address detection (RFC 4862 5.4, RFC 7527; net/ipv6/addrconf.c, addrconf_dad_*): before a host speaks from
// an address it asks for it, and gives it up when somebody answers.

import NetTypes
import Rtnetlink

extension Kernel {
  /// Begins with an address, or takes it at once where nobody needs to be asked (addrconf_dad_begin).
  mutating func beginDetection(_ index: Address6Index) {
    let address = addresses6[index]
    let device = address.device
    joinGroup(IPv6.solicitedNode(address.address), on: device)
    let all = namespaces[devices[device].namespace].everyDevice.ipv6[.acceptDAD]
    let isAsked = all >= 1 || devices[device].settings.ipv6[.acceptDAD] >= 1
    let needsNone =
      devices[device].isLoopback || devices[device].flags.contains(.noARP) || !isAsked
      || !address.isTentative || address.flags.contains(.noDAD)
    guard !needsNone else {
      completeDetection(index, announces: address.isTentative)
      return
    }
    // Without a link it stays as it is, until there is one.
    guard devices[device].inet6.isReady else { return }
    addresses6[index].detection = .running
    addresses6[index].probes = Int(devices[device].settings.ipv6[.dadTransmits])
    if devices[device].settings.ipv6[.enhancedDAD] != 0 {
      repeat { addresses6[index].nonce = cpu.random.next() >> 16 } while addresses6[index].nonce == 0
    }
    let delay = UInt64(max(devices[device].settings.ipv6[.solicitationDelay], 0)) * 1_000_000_000
    armDetection(index, after: delay == 0 ? 0 : Int64(cpu.random.below(delay)))
  }

  private mutating func armDetection(_ index: Address6Index, after delay: Int64) {
    cpu.wheel.cancel(&addresses6[index].detectionTimer)
    addresses6[index].detectionTimer = cpu.wheel.arm(
      TimerEvent(kind: .addressDetection, index: index.rawValue), at: cpu.now + delay)
  }

  /// addrconf_dad_work.
  mutating func addressDetectionTimer(_ index: Address6Index) {
    guard addresses6.contains(index), addresses6[index].detection == .running else { return }
    addresses6[index].detectionTimer = .none
    let device = addresses6[index].device
    guard addresses6[index].probes > 0 else {
      completeDetection(index, announces: false)
      return
    }
    addresses6[index].probes -= 1
    let wait = max(devices[device].neighborParameters6.retransmitTime, 10_000_000)
    armDetection(index, after: wait)
    let address = addresses6[index].address
    sendSolicitation(
      for: address, to: IPv6.solicitedNode(address), from: 0, by: device, nonce: addresses6[index].nonce)
  }

  /// Nobody has the address: it is this host's (addrconf_dad_completed).
  private mutating func completeDetection(_ index: Address6Index, announces: Bool) {
    let address = addresses6[index]
    let device = address.device
    cpu.wheel.cancel(&addresses6[index].detectionTimer)
    addresses6[index].detection = .done
    addresses6[index].flags.subtract([.tentative, .dadFailed])
    install(index)
    let isFirstLinkLocal =
      address.isLinkLocal
      && devices[device].inet6.addresses.allSatisfy {
        $0 == index || !addresses6[$0].isLinkLocal || !addresses6[$0].isUsable
      }
    // What was reported so far came from nobody.
    if isFirstLinkLocal, devices[device].inet6.isReady { reportAllGroups(of: device) }
    if announces, notifiesDiscovery(device) { announce(address.address, on: device) }
    if isFirstLinkLocal, devices[device].inet6.isReady, acceptsAdvertisements(device),
      !devices[device].isLoopback,
      devices[device].settings.ipv6[.solicitations] != 0
    {
      beginSolicitation(on: device)
    }
  }

  /// Whether a device tells of its addresses unasked (`ndisc_notify`).
  func notifiesDiscovery(_ device: DeviceIndex) -> Bool {
    devices[device].settings.ipv6[.discoveryNotify] != 0
      || namespaces[devices[device].namespace].everyDevice.ipv6[.discoveryNotify] != 0
  }

  /// Somebody has the address (addrconf_dad_failure). A link-local one that follows from the hardware address takes
  /// IPv6 away from the device if `accept_dad` is 2.
  mutating func failDetection(_ index: Address6Index) {
    guard addresses6[index].isTentative else { return }
    let address = addresses6[index]
    let device = address.device
    cpu.wheel.cancel(&addresses6[index].detectionTimer)
    addresses6[index].detection = .failed
    addresses6[index].flags.insert(.dadFailed)
    leaveGroup(IPv6.solicitedNode(address.address), on: device)
    let all = namespaces[devices[device].namespace].everyDevice.ipv6[.acceptDAD]
    if address.address == IPv6.linkLocal | IPv6.eui64(devices[device].mac),
      all > 1 || devices[device].settings.ipv6[.acceptDAD] > 1
    {
      setDeviceSetting(.disable, 1, on: device)
      return
    }
    if !address.isPermanent { removeAddress6(index) }
  }
}
