// SPDX-License-Identifier: GPL-2.0-or-later

// Addresses that a host answers for although they are another's (net/core/neighbour.c: pneigh_lookup, pneigh_enqueue,
// neigh_proxy_process): the entries, and answers that wait for a moment, so that who is meant can answer first.

import NetTypes

typealias ProxyIndex = TableIndex<ProxyNeighbor>

/// An address that is answered for (NTF_PROXY).
struct ProxyNeighbor {
  let key: NeighborKey
  var isRouter = false
  /// RTPROT_* of who made it.
  var origin: UInt8 = 0
}

/// A question that waits for its answer.
struct DelayedAnswer: ~Copyable {
  let slot: Slot
  let device: DeviceIndex
  let family: IPFamily
}

extension Kernel {
  /// The entry of an address on a device.
  func proxy(_ key: NeighborKey, in namespace: NamespaceIndex) -> ProxyIndex {
    namespaces[namespace].proxies.first { proxies[$0].key == key } ?? .none
  }

  /// Makes an entry, or finds the one that is there.
  mutating func makeProxy(_ key: NeighborKey, in namespace: NamespaceIndex) -> ProxyIndex {
    let found = proxy(key, in: namespace)
    guard found.isNone else { return found }
    guard let index = proxies.insert(ProxyNeighbor(key: key)) else { return .none }
    let place = namespaces[namespace].proxies.firstIndex { NeighborKey.isBefore(key, proxies[$0].key) }
    namespaces[namespace].proxies.insert(index, at: place ?? namespaces[namespace].proxies.count)
    // Who asks for it asks its group (pndisc_constructor).
    if key.family == .ipv6 { joinGroup(IPv6.solicitedNode(key.ipv6), on: key.device) }
    return index
  }

  mutating func removeProxy(_ index: ProxyIndex, in namespace: NamespaceIndex) {
    let key = proxies[index].key
    namespaces[namespace].proxies.removeAll { $0 == index }
    proxies.remove(index)
    if key.family == .ipv6 { leaveGroup(IPv6.solicitedNode(key.ipv6), on: key.device) }
  }

  mutating func removeProxies(of device: DeviceIndex, family: IPFamily?) {
    let namespace = devices[device].namespace
    for index in namespaces[namespace].proxies
    where proxies[index].key.device == device && (family == nil || proxies[index].key.family == family) {
      removeProxy(index, in: namespace)
    }
    for index in delayedAnswers.indices
    where delayedAnswers[index].device == device && (family == nil || delayedAnswers[index].family == family)
    {
      drop(delayedAnswers[index].slot, .neighborDead, in: namespace)
      devices[device].delayedAnswers -= 1
      delayedAnswers.remove(index)
    }
  }

  /// Lets a question wait for a time by chance, up to `proxy_delay`.
  mutating func delayAnswer(_ slot: Slot, for family: IPFamily, on device: DeviceIndex) {
    let parameters = devices[device][neighborParameters: family]
    guard devices[device].delayedAnswers <= parameters.proxyQueueLength,
      let index = delayedAnswers.insert(DelayedAnswer(slot: slot, device: device, family: family))
    else {
      drop(slot, .neighborQueueFull, in: devices[device].namespace)
      return
    }
    devices[device].delayedAnswers += 1
    let delay = Int64(cpu.random.below(UInt64(max(parameters.proxyDelay, 1))))
    _ = cpu.wheel.arm(TimerEvent(kind: .delayedAnswer, index: index.rawValue), at: cpu.now + delay)
  }

  mutating func delayedAnswerTimer(_ index: TableIndex<DelayedAnswer>) {
    guard delayedAnswers.contains(index) else { return }
    let (slot, device) = (delayedAnswers[index].slot, delayedAnswers[index].device)
    let family = delayedAnswers[index].family
    delayedAnswers.remove(index)
    devices[device].delayedAnswers -= 1
    if family == .ipv4 { arpAnswerNow(slot, on: device) } else { neighborAnswerNow(slot, on: device) }
  }
}
