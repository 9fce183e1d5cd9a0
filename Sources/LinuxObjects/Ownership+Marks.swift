// SPDX-License-Identifier: GPL-2.0-or-later

// The marks of LabCore.Ownership as they are put on the kernel's objects and read from them.

public import LabCore
public import NetTypes
public import Rtnetlink

extension Ownership {
  /// The group of devices about to be deleted: they are the lab's still, and go all at once.
  var doomedGroup: UInt32 { linkGroup ^ 0x4000_0000 }

  /// The messages that bring up a new namespace's `lo` and mark the namespace as the lab's.
  public func marks(for namespace: NamespaceID) -> [NetlinkMessage] {
    var loopback = LinkMessage(index: 1)
    loopback.set(.up, true)
    loopback.alias = alias(for: namespace)
    return [
      loopback.request(.change),
      LinkMessage.addAlternativeNames([alternativeName(for: namespace)], index: 1),
    ]
  }

  /// Whose namespace a `lo` marks: the alias and the altname must agree.
  public static func owner(ofNamespaceWith loopback: LinkMessage) -> (lab: LabName, namespace: NamespaceID)? {
    guard let (lab, namespace) = loopback.alias.flatMap({ parse(alias: $0) }) else { return nil }
    let name = Ownership(lab: lab).alternativeName(for: namespace)
    return loopback.alternativeNames.contains(name) ? (lab, namespace) : nil
  }

  /// The altname that marks a device of the lab in the host's namespace.
  public func hostAlternativeName(of device: InterfaceName) -> String {
    "\(alternativeName(for: .host))-\(device)"
  }

  /// Whether a device of the host's namespace is the lab's: group, alias and altname must all say so.
  public func ownsHostDevice(_ link: LinkMessage) -> Bool {
    guard let name = link.name.flatMap({ InterfaceName($0) }) else { return false }
    return hasGroup(link) && link.alias == alias(for: .host)
      && link.alternativeNames.contains(hostAlternativeName(of: name))
  }

  /// The group of the host's own devices while they are in a node: they are given back, never deleted.
  var borrowedGroup: UInt32 { linkGroup ^ 0x2000_0000 }

  /// What the altname of a borrowed device begins with; its name on the host follows.
  static let originPrefix = "netforge-from-"

  /// Whether a device carries the lab's group; inside the lab's namespaces that is enough.
  func hasGroup(_ link: LinkMessage) -> Bool {
    link.group == linkGroup || link.group == doomedGroup || isBorrowed(link)
  }

  /// Whether the lab has borrowed a device from the host.
  public func isBorrowed(_ link: LinkMessage) -> Bool { link.group == borrowedGroup }

  /// What a borrowed device is called on the host.
  static func origin(of link: LinkMessage) -> InterfaceName? {
    let names = link.alternativeNames.filter { $0.hasPrefix(originPrefix) }
    return names.first.flatMap { InterfaceName($0.dropFirst(originPrefix.count)) }
  }

  /// The messages that lend a device of the host to a node.
  static func lending(
    _ index: Int32, _ origin: InterfaceName, as name: InterfaceName, group: UInt32, to namespace: Int32
  ) -> [NetlinkMessage] {
    // A device that is up keeps its name on older kernels.
    var down = LinkMessage(index: index)
    down.set(.up, false)
    var move = LinkMessage(index: index, name: name.text)
    move.group = group
    move.namespaceDescriptor = namespace
    return [
      down.request(.change), LinkMessage.addAlternativeNames([originPrefix + origin.text], index: index),
      move.request(.change),
    ]
  }

  /// The messages that give a borrowed device back to the host under its own name.
  public static func giving(back link: LinkMessage, to host: Int32) -> [NetlinkMessage] {
    var down = LinkMessage(index: link.index)
    down.set(.up, false)
    var messages = [down.request(.change)]
    let origin = origin(of: link)
    if let origin {
      messages.append(LinkMessage.removeAlternativeNames([originPrefix + origin.text], index: link.index))
    }
    var move = LinkMessage(index: link.index, name: origin?.text)
    move.group = 0
    move.namespaceDescriptor = host
    return messages + [move.request(.change)]
  }

  /// The messages that delete devices of a namespace all at once: into a group of their own, which then goes.
  public func deletion(of devices: [Int32]) -> [NetlinkMessage] {
    let moves = devices.map { index in
      var message = LinkMessage(index: index)
      message.group = doomedGroup
      return message.request(.change)
    }
    return moves + [LinkMessage.deleteGroup(doomedGroup)]
  }
}
