// SPDX-License-Identifier: GPL-2.0-or-later

// Tun and tap devices (Documentation/networking/tuntap.rst): packets that a program writes arrive on the device, and
// what the device sends the program reads. Made by ioctl in the namespace of the calling thread.

import CLinux
public import NetTypes
public import SystemPackage

/// What a tun or tap device is to be.
public struct TunDevice: Hashable, Sendable {
  /// What the device carries.
  public enum Mode: Sendable {
    /// IP packets.
    case tun
    /// Ethernet frames.
    case tap
  }

  public var name: InterfaceName
  public var mode: Mode
  /// The user who may open it without privilege; nil for none but root.
  public var owner: UInt32?
  public var group: UInt32?
  /// The number that it is made with; nil for the next that is free.
  public var index: UInt32?
  /// Several descriptors, a queue each.
  public var multiQueue = false
  /// Four bytes in front of each packet: flags and protocol.
  public var packetInformation = false
  /// A virtio header in front of each packet, for offloads.
  public var virtioHeader = false

  public init(_ name: InterfaceName, _ mode: Mode) {
    self.name = name
    self.mode = mode
  }

  private var flags: Int32 {
    var flags = mode == .tun ? IFF_TUN : IFF_TAP
    if !packetInformation { flags |= IFF_NO_PI }
    if multiQueue { flags |= IFF_MULTI_QUEUE }
    if virtioHeader { flags |= IFF_VNET_HDR }
    return flags
  }

  fileprivate func open(persist: Int32, _ label: String) throws(NetlinkError) -> FileDescriptor {
    let result = nf_tun_open(
      name.text, flags, owner.map(Int64.init) ?? -1, group.map(Int64.init) ?? -1, persist, index ?? 0)
    guard result >= 0 else {
      throw .system("opening \(mode == .tun ? "tun" : "tap") device \(name) in namespace '\(label)'", result)
    }
    return FileDescriptor(rawValue: result)
  }
}

extension NamespaceVisitor {
  /// Opens a device of the namespace that the thread is in, making it when it is not there. The descriptor does not
  /// block, and is the caller's to close; the device goes with the last one unless it was made to stay.
  public func openTun(_ device: TunDevice) throws(NetlinkError) -> FileDescriptor {
    try device.open(persist: -1, label)
  }

  /// Makes a device that stays when no program has it open.
  public func makeTun(_ device: TunDevice) throws(NetlinkError) {
    let descriptor = try device.open(persist: 1, label)
    try? descriptor.close()
  }
}
