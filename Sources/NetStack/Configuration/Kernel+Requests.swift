// SPDX-License-Identifier: GPL-2.0-or-later

// The door for configuration: rtnetlink's requests, answered with the kernel's error numbers and, where it has them,
// its words. What Linux has and this kernel has not is EOPNOTSUPP with a sentence that names it.

import NetTypes
public import Rtnetlink

extension Kernel {
  /// Makes a namespace with its loopback device, which is down, as `unshare(CLONE_NEWNET)` does.
  public mutating func makeNamespace() throws(KernelError) -> NamespaceIndex {
    guard let namespace = namespaces.insert(NetNamespace(random: &cpu.random)) else { throw .noBuffers }
    _ = try insertDevice(.loopback, in: namespace, name: .loopback, index: 0, mac: 0)
    return namespace
  }

  /// Takes a namespace away with all that is in it. Other ends of its pairs go too.
  public mutating func removeNamespace(_ namespace: NamespaceIndex) {
    guard namespaces.contains(namespace) else { return }
    closeSockets(of: namespace)
    removeConntracks(of: namespace)
    for index in fragmentQueues.indices where fragmentQueues[index].key.namespace == namespace {
      endFragments(index, .deviceRemoved)
    }
    while let tunnel = namespaces[namespace].tunnels.last { removeDevice(vxlans[tunnel].device) }
    while let last = namespaces[namespace].devices.last { removeDevice(last) }
    namespaces.remove(namespace)
  }

  /// A namespace as IFLA_NET_NS_FD names it in messages to the kernel of a CPU.
  public static func descriptor(of namespace: NamespaceIndex, cpu: Int = 0) -> Int32 {
    Machine.Namespace(cpu: cpu, index: namespace).descriptor
  }

  func namespace(descriptor: Int32) throws(KernelError) -> NamespaceIndex {
    let namespace = Machine.Namespace(descriptor: descriptor)
    guard namespace.cpu == options.cpu, namespaces.contains(namespace.index) else { throw KernelError(9) }
    return namespace.index
  }

  /// The device of that name.
  public func device(_ name: String, in namespace: NamespaceIndex) -> DeviceIndex? {
    guard namespaces.contains(namespace) else { return nil }
    return namespaces[namespace].deviceNames[name]
  }

  /// The number of the device of that name.
  public func index(of name: String, in namespace: NamespaceIndex) -> Int32? {
    device(name, in: namespace).map { devices[$0].ifindex }
  }

  func device(ifindex: Int32, in namespace: NamespaceIndex) -> DeviceIndex? {
    namespaces[namespace].deviceNumbers[ifindex]
  }

  /// Carries out one request that changes something.
  public mutating func perform(
    _ request: NetlinkMessage, in namespace: NamespaceIndex
  ) throws(KernelError) {
    guard namespaces.contains(namespace) else { throw .noSuchDevice }
    switch request.type {
    case .setLink where isBridgeFamily(request):
      try changeVLANs(try decode(request), isNew: true, in: namespace)
    case .deleteLink where isBridgeFamily(request):
      try changeVLANs(try decode(request), isNew: false, in: namespace)
    case .newLink, .setLink:
      try changeLink(try decode(request), request.flags, isSet: request.type == .setLink, in: namespace)
    case .deleteLink: try deleteLink(try decode(request), in: namespace)
    case .newLinkProperty, .deleteLinkProperty:
      try changeAlternativeNames(
        try decodeLink(request), isNew: request.type == .newLinkProperty, in: namespace)
    case .newAddress: try addAddress(try decode(request), request.flags, in: namespace)
    case .deleteAddress: try deleteAddress(try decode(request), in: namespace)
    case .newRoute: try addRoute(try decode(request), request.flags, in: namespace)
    case .deleteRoute: try deleteRoute(try decode(request), in: namespace)
    case .newRule: try addRule(try decode(request), request.flags, in: namespace)
    case .deleteRule: try deleteRule(try decode(request), in: namespace)
    case .newNeighbor:
      let message: NeighborMessage = try decode(request)
      if message.family == .bridge, let tunnel = tunnel(message, in: namespace) {
        try addVXLANEntry(message, request.flags, to: tunnel)
      } else if message.family == .bridge {
        try addForwardingEntry(message, request.flags, in: namespace)
      } else {
        try addNeighbor(message, request.flags, in: namespace)
      }
    case .deleteNeighbor:
      let message: NeighborMessage = try decode(request)
      if message.family == .bridge, let tunnel = tunnel(message, in: namespace) {
        try deleteVXLANEntry(message, from: tunnel)
      } else if message.family == .bridge {
        try deleteForwardingEntry(message, in: namespace)
      } else {
        try deleteNeighbor(message, in: namespace)
      }
    case .newQdisc: try changeQdisc(try decode(request), request.flags, in: namespace)
    case .deleteQdisc: try deleteQdisc(try decode(request), in: namespace)
    case .newClass: try changeClass(try decode(request), request.flags, in: namespace)
    case .deleteClass: try deleteClass(try decode(request), in: namespace)
    case .newMulticastEntry: try addGroup(try decode(request), request.flags, in: namespace)
    case .deleteMulticastEntry: try deleteGroup(try decode(request), in: namespace)
    default:
      throw .notSupported("the emulated kernel does not know \(request.type)")
    }
    notify(request: request, in: namespace)
  }

  /// All that a dump request (or a GET of one object) asks for, of this moment.
  public mutating func dump(
    _ request: NetlinkMessage, in namespace: NamespaceIndex
  ) throws(KernelError) -> [NetlinkMessage] {
    guard namespaces.contains(namespace) else { throw .noSuchDevice }
    var answers: [NetlinkMessage]
    switch request.type {
    case .getLink: answers = try links(try decode(request), all: isDump(request), in: namespace)
    case .getAddress: answers = try addresses(try decode(request), in: namespace)
    case .getRoute: answers = try routes(try decode(request), all: isDump(request), in: namespace)
    case .getNeighbor:
      let filter: NeighborMessage = try decode(request)
      answers =
        filter.family == .bridge
        ? try forwardingEntries(filter, in: namespace) + tunnelEntries(filter, in: namespace)
        : try neighborEntries(filter, all: isDump(request), in: namespace)
    case .getRule: answers = try rules(try decode(request), in: namespace)
    case .getQdisc: answers = try qdiscEntries(try decode(request), all: isDump(request), in: namespace)
    case .getClass: answers = classEntries(try decode(request), in: namespace)
    case .getNamespaceID: answers = []
    case .getMulticastEntry: answers = groups(in: namespace)
    default:
      throw .notSupported("the emulated kernel does not know \(request.type)")
    }
    for place in answers.indices {
      answers[place].sequence = request.sequence
      answers[place].port = request.port
      if isDump(request) { answers[place].flags.insert(.multipart) }
    }
    return answers
  }

  /// The first byte of a link's message is its family.
  private func isBridgeFamily(_ request: NetlinkMessage) -> Bool {
    request.payload.first == AddressFamily.bridge.rawValue
  }

  private func isDump(_ request: NetlinkMessage) -> Bool { request.flags.contains(.dump) }

  private func decode<Message: RtnetlinkMessage>(_ request: NetlinkMessage) throws(KernelError) -> Message {
    do {
      return try Message(parsing: request.payload[...])
    } catch {
      throw .invalid("\(error)")
    }
  }

  private func decodeLink(_ request: NetlinkMessage) throws(KernelError) -> LinkMessage {
    try decode(request)
  }
}
