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

  /// Whether a device carries the lab's group; inside the lab's namespaces that is enough.
  public func hasGroup(_ link: LinkMessage) -> Bool { link.group == linkGroup || link.group == doomedGroup }

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
