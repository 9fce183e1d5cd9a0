// SPDX-License-Identifier: GPL-2.0-or-later

// The hooks of devices (nf_hook_ingress in net/core/dev.c's __netif_receive_skb_core, nf_hook_egress in
// __dev_queue_xmit): what comes in, before any bridge takes it, and what goes out, before any queue.

extension Kernel {
  /// Takes frames, which begin with their link headers, through a device's hook; those that are let through stay in the
  /// burst.
  @inline(never)
  mutating func filterLink(_ burst: inout Burst, _ hook: NetfilterHook, on index: DeviceIndex) {
    let namespace = devices[index].namespace
    var kept = Burst()
    for position in 0..<burst.count {
      let slot = burst[position]
      let bytes = pool.bytes(slot)
      guard bytes.count >= EthernetHeader.length else {
        kept.append(slot)
        continue
      }
      placeHeaders(slot)
      // On its way out too, the device is what the kernel calls the packet's input (nf_hook_egress).
      if netfilter(slot, .netdev, hook, in: index, out: .none, namespace) { kept.append(slot) }
    }
    burst.removeAll()
    for position in 0..<kept.count { burst.append(kept[position]) }
  }
}
