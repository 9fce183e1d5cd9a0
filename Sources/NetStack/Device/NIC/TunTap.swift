// SPDX-License-Identifier: GPL-2.0-or-later

// A tun or tap device (drivers/net/tun.c): a NIC whose wire is the program that has opened it. A tap carries frames, a
// tun packets without a link header. Both are persistent: they have no carrier until a program is attached
// (`setLink`), and stay when it goes.
//
// Inside the stack a tun's packet has an Ethernet header of zeros like any other, which the face puts on and takes off.

public import NetTypes

/// What is said of a tun or tap device when it is made.
public struct TunTap: Hashable, Sendable {
  /// Frames (IFF_TAP) rather than packets (IFF_TUN).
  public var isTap: Bool
  /// The user that may attach to it; nil for privileged users only.
  public var owner: UInt32?
  /// The group whose members may.
  public var group: UInt32?
  /// Several programs may be attached at once.
  public var isMultiQueue: Bool

  /// For privileged users, and one program at a time.
  public init(isTap: Bool, owner: UInt32? = nil, group: UInt32? = nil, isMultiQueue: Bool = false) {
    self.isTap = isTap
    self.owner = owner
    self.group = group
    self.isMultiQueue = isMultiQueue
  }
}

extension Kernel {
  /// Makes a persistent device, as TUNSETIFF and TUNSETPERSIST do, with the number of TUNSETIFINDEX or the next that is
  /// free. Nobody is attached to it.
  public mutating func makeTunTap(
    _ name: InterfaceName, in namespace: NamespaceIndex, _ options: TunTap, number: Int32 = 0
  ) throws(KernelError) -> DeviceIndex {
    guard namespaces.contains(namespace) else { throw .noSuchDevice }
    if let standing = device(name.text, in: namespace) {
      // IFF_TUN_EXCL, or a device of another kind.
      let isTun = nic(standing).map { nics[$0].tunTap != nil } ?? false
      throw isTun ? .busy : .invalidArgument
    }
    let index = try makeOutside(name, in: namespace, mac: options.isTap ? nil : .zero, number: number)
    guard let nic = nic(index) else { throw .noSuchDevice }
    nics[nic].tunTap = options
    nics[nic].hasLink = false
    if !options.isTap {
      devices[index].flags = [.pointToPoint, .noARP, .multicast]
      // TUN_READQ_SIZE.
      devices[index].queueLength = 500
    }
    return index
  }

  /// Whether a device's packets have no link header outside.
  func isLinkless(_ index: DeviceIndex) -> Bool { nic(index).map { nics[$0].isLinkless } ?? false }
}
