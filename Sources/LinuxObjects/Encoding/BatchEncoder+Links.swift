// SPDX-License-Identifier: GPL-2.0-or-later

// Devices come into being where they stay, with all that one message can say; moving one afterwards costs 20 ms. What
// the kernel ignores or refuses in that message follows in others: an alias, altnames, address generation, the options
// of a bridge port, the MTU of a bridge.

import LabCore
import NetTypes
import Rtnetlink

extension BatchEncoder {
  mutating func encodeLink(_ change: Change, in namespace: NamespaceID) throws(EncodingFailure) {
    switch (change.operation, change.before, change.after) {
    case (.create, _, .link(let link)):
      try createLink(link, in: namespace)
    case (.replace, .link(let before), .link(let link)):
      let reference = LinkReference(namespace, link.name)
      // The far end's replacement has already made both ends.
      if born[reference] == nil { try removeLink(before, in: namespace, atOnce: true) }
      try createLink(link, in: namespace)
    case (.update, .link(let before), .link(let after)):
      try updateLink(before, after, change.path.attribute, in: namespace)
    case (.delete, .link(let link), _):
      try removeLink(link, in: namespace, atOnce: false)
    default:
      throw .impossible("a \(change.operation.rawValue) of a device without its state")
    }
  }

  // MARK: Creation

  private mutating func createLink(_ link: LinkState, in namespace: NamespaceID) throws(EncodingFailure) {
    let reference = LinkReference(namespace, link.name)
    switch link.kind {
    case .loopback:
      try configure(link, in: namespace, done: [])
    case .tuntap:
      // Made by ioctl before the messages; here it gets its settings.
      var done: Creation = []
      try setBasics(link, in: namespace, &done)
      try configure(link, in: namespace, done: done)
    case .external:
      try moveIn(link, to: namespace)
    case .veth(let peer):
      if let done = born.removeValue(forKey: reference) {
        try configure(link, in: namespace, done: done)
      } else {
        try createPair(link, in: namespace, peer: peer)
      }
    case .macvlan(let macvlan):
      guard let parent = macvlan.parent else { throw .impossible("a macvlan without a parent") }
      try createOnParent(link, macvlan, parent, in: namespace)
    case .bridge, .vlan, .dummy, .vxlan, .other:
      var (message, done) = try creation(of: link, in: namespace, sentIn: namespace)
      try joinAndRaise(link, in: namespace, &message, &done)
      emit(message.request(.create), in: namespace, "create")
      try configure(link, in: namespace, done: done)
    }
    for step in waitingSysctls.removeValue(forKey: reference) ?? [] { append(step, in: namespace) }
  }

  /// The message that makes a device in `namespace`, to be sent in `sender`, and what it says of the device already.
  private mutating func creation(
    of link: LinkState, in namespace: NamespaceID, sentIn sender: NamespaceID
  ) throws(EncodingFailure) -> (LinkMessage, Creation) {
    let index = try freeIndex(for: link, in: namespace, sentIn: sender)
    tables[namespace]?.insert(link.name, index)
    var done: Creation = .basics
    var message = LinkMessage(index: index, name: link.name.text)
    message.macAddress = link.mac
    message.transmitQueueLength = link.transmitQueueLength
    message.group = ownership.linkGroup
    message.kind = try kernelKind(of: link, in: namespace)
    if case .vlan(let vlan) = link.kind {
      message.lowerIndex = try self.index(of: vlan.parent, in: namespace)
    }
    switch link.kind {
    // A bridge takes the MTU of its smallest port until it is told one later.
    case .bridge: if link.mtu != nil { done.remove(.mtu) }
    default: message.mtu = link.mtu
    }
    if case .veth = link.kind {
      // As many queues as the host has processors are of no use and slow to make.
      message.transmitQueues = 1
      message.receiveQueues = 1
    }
    if sender != namespace { message.namespaceDescriptor = try handle(of: namespace) }
    return (message, done)
  }

  /// The number that a new device gets. Apart from where it is entered: a table that somebody else still holds is copied
  /// when it changes, with all devices of a switch for each new one.
  private mutating func freeIndex(
    for link: LinkState, in namespace: NamespaceID, sentIn sender: NamespaceID
  ) throws(EncodingFailure) -> Int32 {
    var known = [try table(namespace)]
    if sender != namespace { known.append(try table(sender)) }
    let floor: Int32 = namespace == .host ? Self.firstHostIndex : 2
    return LinkTable.freeIndex(namespace == .host ? nil : link.index, from: floor, in: known)
  }

  /// Above all numbers that the host's kernel gives out, so that nobody is in the way.
  private static var firstHostIndex: Int32 { 1_000_000 }

  private mutating func createPair(
    _ link: LinkState, in namespace: NamespaceID, peer: LinkReference?
  ) throws(EncodingFailure) {
    guard let peer else { throw .impossible("a veth without its other end") }
    let here = LinkReference(namespace, link.name)
    // Another batch may bring the far end's own state; until then it has a name and a mark.
    let far = creations[peer]?.link ?? LinkState(name: peer.name, kind: .veth(peer: here), isUp: false)
    if creations[peer] == nil, try table(peer.namespace)[peer.name] != nil,
      try table(namespace)[link.name] != nil
    {
      try configure(link, in: namespace, done: [])
      return
    }
    // The end that belongs to a bridge sends: its message can join the bridge at once, the far end's cannot.
    let sendsFar = link.master == nil && far.master != nil && creations[peer] != nil
    let (near, nearPlace) = sendsFar ? (far, peer.namespace) : (link, namespace)
    let (other, otherPlace) = sendsFar ? (link, namespace) : (far, peer.namespace)
    var (message, done) = try creation(of: near, in: nearPlace, sentIn: nearPlace)
    var (otherMessage, otherDone) = try creation(of: other, in: otherPlace, sentIn: otherPlace)
    if otherPlace != nearPlace { otherMessage.namespaceDescriptor = try handle(of: otherPlace) }
    message.kind = .veth(peer: otherMessage)
    try joinAndRaise(near, in: nearPlace, &message, &done)
    emit(message.request(.create), in: nearPlace, "create")
    // The other end's channel must not speak of the device before it is there.
    follow(otherPlace, after: nearPlace)
    if sendsFar { swap(&done, &otherDone) }
    if creations[peer] != nil { born[peer] = otherDone }
    try configure(link, in: namespace, done: done)
  }

  /// Adds to a creation what the kernel does at once for the device that the message itself names.
  private mutating func joinAndRaise(
    _ link: LinkState, in namespace: NamespaceID, _ message: inout LinkMessage, _ done: inout Creation
  ) throws(EncodingFailure) {
    if let master = link.master, let index = try table(namespace)[master] {
      message.master = index
      done.insert(.master)
    }
    // Address generation is set while the device is down, else the address is made before.
    if link.isUp, link.linkLocalIPv6 == nil {
      message.set(.up, true)
      done.insert(.up)
    }
  }

  /// A macvlan is made in its parent's namespace and born into its own.
  private mutating func createOnParent(
    _ link: LinkState, _ macvlan: MacvlanState, _ parent: LinkReference, in namespace: NamespaceID
  ) throws(EncodingFailure) {
    let lower = try index(of: parent.name, in: parent.namespace)
    var (message, done) = try creation(of: link, in: namespace, sentIn: parent.namespace)
    message.lowerIndex = lower
    if link.isUp, link.linkLocalIPv6 == nil {
      message.set(.up, true)
      done.insert(.up)
    }
    emit(message.request(.create), in: parent.namespace, "create")
    follow(namespace, after: parent.namespace)
    try configure(link, in: namespace, done: done)
  }

  /// A device of the host goes into a node.
  private mutating func moveIn(_ link: LinkState, to namespace: NamespaceID) throws(EncodingFailure) {
    // One that is only referred to stays as it is.
    guard namespace != .host else { return }
    if try table(namespace)[link.name] == nil {
      let origin = link.hostName ?? link.name
      let index = try index(of: origin, in: .host)
      // Its number stays unless a device of the node has it.
      guard try !table(namespace).isTaken(index) else {
        throw .impossible("\(origin) and a device of the node have the same number")
      }
      let messages = Ownership.lending(
        index, origin, as: link.name, group: ownership.borrowedGroup, to: try handle(of: namespace))
      for message in messages { emit(message, in: .host, "move") }
      follow(namespace, after: .host)
      tables[namespace]?.insert(link.name, index)
      tables[.host]?.remove(origin)
    }
    var done: Creation = []
    try setBasics(link, in: namespace, &done)
    try configure(link, in: namespace, done: done)
  }

  /// The kind of a device as a creation message has it.
  private mutating func kernelKind(
    of link: LinkState, in namespace: NamespaceID
  ) throws(EncodingFailure) -> Rtnetlink.LinkKind? {
    switch link.kind {
    case .bridge(var bridge):
      // A kernel without CONFIG_BRIDGE_VLAN_FILTERING refuses the attribute even to say no, where every bridge begins.
      if bridge.vlanFiltering == false { bridge.vlanFiltering = nil }
      return .bridge(BridgeOptions(bridge))
    case .dummy: return .dummy
    case .vlan(let vlan):
      var options = VLANOptions()
      options.identifier = vlan.id
      options.etherType = vlan.tag.rawValue
      return .vlan(options)
    case .vxlan(let tunnel):
      var options = VXLANOptions(tunnel)
      options.identifier = tunnel.id
      options.port = tunnel.port
      if let underlay = tunnel.underlay { options.lowerIndex = try index(of: underlay, in: namespace) }
      return .vxlan(options)
    case .macvlan(let macvlan):
      var options = MacvlanOptions()
      options.mode = MacvlanMode(macvlan.mode)
      return .macvlan(options)
    case .other(let name): return .other(name, [])
    case .veth, .tuntap, .loopback, .external: return nil
    }
  }

  // MARK: What follows a creation

  /// MAC, MTU, queue length and group of a device that no creation message made.
  private mutating func setBasics(
    _ link: LinkState, in namespace: NamespaceID, _ done: inout Creation
  ) throws(EncodingFailure) {
    var message = LinkMessage(index: try index(of: link.name, in: namespace))
    message.macAddress = link.mac
    message.mtu = link.mtu
    message.transmitQueueLength = link.transmitQueueLength
    message.group = link.kind == .external ? ownership.borrowedGroup : ownership.linkGroup
    emit(message.request(.change), in: namespace, "configure")
    done.formUnion(.basics)
  }

  /// Says what of a device its creation has left unsaid.
  mutating func configure(
    _ link: LinkState, in namespace: NamespaceID, done: Creation
  ) throws(EncodingFailure) {
    let index = try index(of: link.name, in: namespace)
    if namespace == .host, link.kind != .external { try markHostDevice(link.name, index) }
    if !link.alternativeNames.isEmpty {
      emit(LinkMessage.addAlternativeNames(link.alternativeNames, index: index), in: namespace, "name")
    }
    if let linkLocal = link.linkLocalIPv6 {
      emit(LinkMessage.addressGeneration(linkLocal, index: index), in: namespace, "configure IPv6 of")
    }
    var message = LinkMessage(index: index)
    if !done.contains(.mtu) { message.mtu = link.mtu }
    if !done.contains(.mac) { message.macAddress = link.mac }
    if !done.contains(.queue) { message.transmitQueueLength = link.transmitQueueLength }
    if let master = link.master, !done.contains(.master) {
      message.master = try self.index(of: master, in: namespace)
    }
    if link.isUp, !done.contains(.up) { message.set(.up, true) }
    if message != LinkMessage(index: index) { emit(message.request(.change), in: namespace, "configure") }
    if let port = link.port, link.master != nil { try configurePort(port, index, link, in: namespace) }
  }

  private mutating func markHostDevice(_ name: InterfaceName, _ index: Int32) throws(EncodingFailure) {
    var message = LinkMessage(index: index)
    message.alias = ownership.alias(for: .host)
    emit(message.request(.change), in: .host, "mark")
    let names = [ownership.hostAlternativeName(of: name)]
    emit(LinkMessage.addAlternativeNames(names, index: index), in: .host, "mark")
  }

  private mutating func configurePort(
    _ port: LabCore.BridgePortState, _ index: Int32, _ link: LinkState, in namespace: NamespaceID
  ) throws(EncodingFailure) {
    let options = BridgePortOptions(port)
    if options != BridgePortOptions() {
      emit(LinkMessage.port(options, index: index), in: namespace, "configure the bridge port")
    }
    guard let vlans = port.vlans else { return }
    // A port that joins is put into the bridge's default VLAN.
    var inherited: UInt16 = 1
    if let master = link.master,
      case .bridge(let bridge) = creations[LinkReference(namespace, master)]?.link.kind
    {
      inherited = bridge.defaultPVID ?? 1
    }
    let before = inherited == 0 ? [] : [PortVLAN(id: inherited, isPVID: true, isUntagged: true)]
    changeVLANs(of: index, from: before, to: vlans, in: namespace)
  }
}

/// What a creation message has said of a device.
struct Creation: OptionSet {
  var rawValue: Int
  static let mac = Creation(rawValue: 1)
  static let mtu = Creation(rawValue: 2)
  static let queue = Creation(rawValue: 4)
  static let master = Creation(rawValue: 8)
  static let up = Creation(rawValue: 16)
  static let basics: Creation = [.mac, .mtu, .queue]
}
