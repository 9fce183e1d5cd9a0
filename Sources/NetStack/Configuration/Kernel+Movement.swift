// SPDX-License-Identifier: GPL-2.0-or-later

// A device moves to another namespace (net/core/dev.c, __dev_change_net_namespace): to the one that it leaves it is as
// if it were removed, to the other one as if it were new, down, with its address, MTU and kind.

import NetTypes

extension Kernel {
  mutating func moveDevice(
    _ index: DeviceIndex, to namespace: NamespaceIndex, as wanted: String?, number: Int32
  ) throws(KernelError) {
    switch devices[index].kind {
    case .loopback, .bridge: throw .invalid("The interface netns is immutable")
    case .crossing:
      throw .notSupported("the emulated kernel moves no end of a pair that stands on two CPUs")
    default: break
    }
    var name = devices[index].name
    if device(name.text, in: namespace) != nil {
      guard let wanted else {
        throw KernelError(17, "An interface with the same name exists in the target netns")
      }
      guard let other = InterfaceName(wanted) else { throw .invalidArgument }
      guard device(wanted, in: namespace) == nil else { throw .exists }
      name = other
    } else if let wanted, wanted != name.text {
      guard let other = InterfaceName(wanted) else { throw .invalidArgument }
      guard device(wanted, in: namespace) == nil else { throw .exists }
      name = other
    }
    for other in devices[index].alternativeNames where device(other, in: namespace) != nil {
      throw KernelError(17, "An interface with the altname \(other) exists in the target netns")
    }
    if number > 0, device(ifindex: number, in: namespace) != nil { throw .busy }
    forgetConfiguration(of: index)
    if !devices[index].qdisc.isNone { destroyQdisc(devices[index].qdisc) }
    devices[index].qdisc = .none
    devices[index].isQueueActive = false
    delist(index)
    devices[index].namespace = namespace
    devices[index].name = name
    var ifindex = number > 0 ? number : devices[index].ifindex
    if device(ifindex: ifindex, in: namespace) != nil {
      ifindex = try freeIfindex(in: namespace)
    }
    devices[index].ifindex = ifindex
    enlist(index)
    inheritSettings(index)
  }
}
