// SPDX-License-Identifier: GPL-2.0-or-later

// What a stage calls where packets meet rules (nf_hook_slow). A namespace without any pays a branch.

import NetTypes

extension Kernel {
  /// Whether packets of a family meet anything at a hook.
  @inline(__always)
  func hasHook(_ family: NetfilterFamily, _ hook: NetfilterHook, in namespace: NamespaceIndex) -> Bool {
    namespaces[namespace].nftables.isActive
      && namespaces[namespace].nftables.steps.range(family, hook).count > 0
  }

  /// Takes a packet through a hook. Its network header is where its metadata says. What is dropped or stolen is gone.
  @inline(__always)
  mutating func netfilter(
    _ slot: Slot, _ family: NetfilterFamily, _ hook: NetfilterHook, in input: DeviceIndex,
    out output: DeviceIndex, _ namespace: NamespaceIndex
  ) -> Bool {
    guard hasHook(family, hook, in: namespace) else { return true }
    return runHook(slot, family, hook, input, output, namespace)
  }

  @inline(never)
  private mutating func runHook(
    _ slot: Slot, _ family: NetfilterFamily, _ hook: NetfilterHook, _ input: DeviceIndex,
    _ output: DeviceIndex, _ namespace: NamespaceIndex
  ) -> Bool {
    let range = namespaces[namespace].nftables.steps.range(family, hook)
    var packet = NftPacket(slot, family, hook, in: input, out: output, namespace, pool)
    if namespaces[namespace].nftables.isTraced { beginTrace(packet) }
    for position in range.start..<range.start + range.count {
      let step = namespaces[namespace].nftables.steps[position]
      let verdict: NetfilterVerdict
      switch step.kind {
      // Who calls the hook has put the pieces together where there are any (`needsDefragmentation`).
      case .defragment: verdict = .accept
      case .conntrack: verdict = conntrackIn(&packet)
      case .nat: verdict = translate(&packet, step)
      case .synproxy: verdict = passProxied(packet)
      case .confirm: verdict = conntrackConfirm(packet)
      case .flowtable:
        guard step.admits(packet.version), isMeant(step.devices, packet) else { continue }
        verdict = passByFlow(packet, step.start)
      case .chain:
        guard step.devices == .max || isMeant(step.devices, packet), !step.needsIP || packet.version != 0
        else { continue }
        verdict = run(step.start, policy: step.policy, &packet)
      }
      switch verdict {
      case .accept: continue
      case .drop:
        drop(slot, .netfilterDrop, in: namespace)
        return false
      case .stolen: return false
      }
    }
    return true
  }

  private func isMeant(_ list: UInt32, _ packet: NftPacket) -> Bool {
    namespaces[packet.namespace].nftables.steps.devices[Int(list)].contains(devices[packet.input].name)
  }

  /// Whether the way of what this host sends is looked up anew after its rules: for a chain of type route, or because NAT
  /// sends the connection to somebody else (nf_route_table_hook4, nf_nat_ipv4_local_fn).
  func takesAnotherWay(
    _ slot: Slot, hasChanged: Bool, _ family: NetfilterFamily, _ namespace: NamespaceIndex
  ) -> Bool {
    if hasChanged, namespaces[namespace].nftables.steps.reroutes(family) { return true }
    let reference = pool.conntrack(slot)
    guard namespaces[namespace].nftables.steps.translates(family), conntracks.contains(reference.index) else {
      return false
    }
    let direction = reference.info.direction
    return conntracks[reference.index].tuple(direction).destination
      != conntracks[reference.index].tuple(direction.other).source
  }

  /// Whether packets that come in must be whole before they meet the hooks (nf_defrag).
  @inline(__always)
  func needsDefragmentation(_ family: NetfilterFamily, in namespace: NamespaceIndex) -> Bool {
    namespaces[namespace].nftables.tracks.contains(family)
  }
}
