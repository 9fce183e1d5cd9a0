// SPDX-License-Identifier: GPL-2.0-or-later

// Queueing disciplines by message (net/sched/sch_api.c): which one a request means, then making, changing, removing
// and showing it. What each kind does with its settings stands in Kernel+QdiscKinds.swift.

import Rtnetlink

extension Kernel {
  // MARK: Where

  /// The qdisc of a device with that handle (qdisc_lookup).
  func qdisc(handle: UInt32, of device: DeviceIndex) -> QdiscIndex? {
    guard handle != 0 else { return nil }
    return qdiscs(of: device).first { qdiscs[$0].handle == handle & 0xffff_0000 }
  }

  /// All qdiscs of a device, each before those inside it.
  func qdiscs(of device: DeviceIndex) -> [QdiscIndex] {
    guard !devices[device].qdisc.isNone else { return [] }
    var found: [QdiscIndex] = []
    var rest = [devices[device].qdisc]
    while let index = rest.popLast() {
      found.append(index)
      rest += children(of: index).reversed()
    }
    return found
  }

  /// The qdisc in a class of another one; nil when the class is empty (qdisc_leaf).
  private func leaf(_ place: UInt32, of parent: QdiscIndex) throws(KernelError) -> QdiscIndex? {
    switch qdiscs[parent].kind {
    case .noQueue, .pfifo, .bfifo, .pfifoFast: throw KernelError(95, "Parent qdisc is not classful")
    case .tokenBucket, .netem: return children(of: parent).first
    case .hierarchicalTokenBucket(let tree):
      guard let position = trees[tree].find(place) else { throw KernelError(2, "Specified class not found") }
      let leaf = trees[tree].classes[position].leaf
      return leaf.isNone ? nil : leaf
    }
  }

  private func subject(_ message: QdiscMessage, in namespace: NamespaceIndex) throws(KernelError)
    -> DeviceIndex
  {
    guard let device = device(ifindex: message.index, in: namespace) else { throw .noSuchDevice }
    guard message.parent != .ingress, message.kind?.name != "ingress", message.kind?.name != "clsact" else {
      throw .notSupported("the emulated kernel has no filters of packets, which ingress and clsact are for")
    }
    return device
  }

  // MARK: Requests

  mutating func changeQdisc(
    _ message: QdiscMessage, _ flags: MessageFlags, in namespace: NamespaceIndex
  ) throws(KernelError) {
    let device = try subject(message, in: namespace)
    let handle = message.handle.rawValue
    let place = message.parent.rawValue
    let name = message.kind?.name
    var parent = QdiscIndex.none
    var found: QdiscIndex?
    if place == 0 {
      guard handle != 0 else { throw .invalid("Handle cannot be zero") }
      found = qdisc(handle: handle, of: device)
    } else {
      if place == Qdisc.root {
        found = devices[device].qdisc.isNone ? nil : devices[device].qdisc
      } else {
        guard let outer = qdisc(handle: place & 0xffff_0000, of: device) else {
          throw KernelError(2, "Failed to find specified qdisc")
        }
        parent = outer
        found = try leaf(place, of: outer)
      }
      // A default may be overwritten as if it were not there.
      if let standing = found, qdiscs[standing].handle == 0 { found = nil }
      if found.map({ handle != 0 && qdiscs[$0].handle != handle }) ?? true {
        if handle != 0 {
          guard found == nil || flags.contains(.replace) else {
            throw KernelError(17, "NLM_F_REPLACE needed to override")
          }
          guard handle & 0xffff == 0 else { throw .invalid("Invalid minor handle") }
          if let other = qdisc(handle: handle, of: device) {
            guard !flags.contains(.exclusive) else {
              throw KernelError(17, "Exclusivity flag on, cannot override")
            }
            guard name == nil || name == self.name(of: other) else {
              throw .invalid("Invalid qdisc name: must match existing qdisc")
            }
            throw .notSupported("the emulated kernel moves no queueing discipline to another class")
          }
        }
        try makeQdisc(message, flags, parent, on: device)
        return
      }
      if let standing = found, handle == 0, let name, name != self.name(of: standing) {
        let mayMake = flags.contains(.create) && !flags.isDisjoint(with: [.replace, .exclusive])
        let isPlain = flags.isDisjoint(with: [.create, .replace, .exclusive])
        if mayMake || isPlain {
          try makeQdisc(message, flags.union(.create), parent, on: device)
          return
        }
      }
    }
    guard let index = found else { throw KernelError(2, "Specified qdisc not found") }
    guard !flags.contains(.exclusive) else { throw KernelError(17, "Exclusivity flag on, cannot modify") }
    guard name == nil || name == self.name(of: index) else {
      throw .invalid("Invalid qdisc name: must match existing qdisc")
    }
    if let kind = message.kind { try applySettings(kind, to: index) }
  }

  private mutating func makeQdisc(
    _ message: QdiscMessage, _ flags: MessageFlags, _ parent: QdiscIndex, on device: DeviceIndex
  ) throws(KernelError) {
    guard flags.contains(.create) else {
      throw KernelError(2, "Qdisc not found. To create specify NLM_F_CREATE flag")
    }
    guard let kind = message.kind else { throw .noSuchEntry }
    let place = message.parent.rawValue
    if case .other("noqueue", _) = kind, !parent.isNone {
      throw .invalid("Cannot assign noqueue to a class")
    }
    if !parent.isNone, case .hierarchicalTokenBucket(let tree) = qdiscs[parent].kind {
      // A class with classes below it has no queue (htb_graft).
      guard let position = trees[tree].find(place), trees[tree].classes[position].level == 0 else {
        throw .invalidArgument
      }
    }
    let handle = message.handle.rawValue & 0xffff_0000
    let index = try insertQdisc(
      kind, on: device, handle: handle != 0 ? handle : freeHandle(of: device), place: place)
    qdiscs[index].parent = parent
    graft(index, parent, place, on: device)
  }

  /// Handles that the kernel gives itself count up from 8001: (qdisc_alloc_handle).
  private mutating func freeHandle(of device: DeviceIndex) -> UInt32 {
    repeat {
      nextQdiscHandle &+= 0x1_0000
      if nextQdiscHandle >= 0xffff_0000 { nextQdiscHandle = 0x8001_0000 }
    } while qdisc(handle: nextQdiscHandle, of: device) != nil
    return nextQdiscHandle
  }

  /// Puts a qdisc, or none, where another stood, which ends with all that waits in it (qdisc_graft).
  mutating func graft(_ index: QdiscIndex, _ parent: QdiscIndex, _ place: UInt32, on device: DeviceIndex) {
    var old = QdiscIndex.none
    if parent.isNone {
      old = devices[device].qdisc
      devices[device].qdisc = index
      devices[device].isQueueActive = !index.isNone
      if index.isNone, devices[device].isUp { activateQueue(device) }
    } else {
      switch qdiscs[parent].kind {
      case .tokenBucket(let bucket):
        old = tokenBuckets[bucket].child
        tokenBuckets[bucket].child = index
      case .netem(let netem):
        old = netems[netem].child
        netems[netem].child = index
      case .hierarchicalTokenBucket(let tree):
        guard let position = trees[tree].find(place) else { break }
        old = trees[tree].classes[position].leaf
        trees[tree].classes[position].leaf = index
        if index.isNone { giveLeaf(tree, position, of: parent) }
      case .noQueue, .pfifo, .bfifo, .pfifoFast: break
      }
    }
    guard !old.isNone else { return }
    let waiting = qdiscs[old].statistics
    if waiting.queueLength > 0 {
      reduceBacklog(around: old, packets: waiting.queueLength, bytes: waiting.backlog)
    }
    destroyQdisc(old)
  }

  /// Ends a qdisc, those inside it, and their packets.
  mutating func destroyQdisc(_ index: QdiscIndex) {
    resetQueue(index)
    for child in children(of: index) { destroyQdisc(child) }
    switch qdiscs[index].kind {
    case .noQueue, .pfifo, .bfifo, .pfifoFast: break
    case .tokenBucket(let bucket): tokenBuckets.remove(bucket)
    case .hierarchicalTokenBucket(let tree): trees.remove(tree)
    case .netem(let netem): netems.remove(netem)
    }
    qdiscs.remove(index)
  }

  /// A device that comes up gets the queue of its kind, if it has none (dev_activate).
  mutating func activateQueue(_ device: DeviceIndex) {
    guard !devices[device].isQueueActive else { return }
    devices[device].isQueueActive = true
    guard devices[device].wantsQueue, devices[device].queueLength > 0 else { return }
    let qdisc = Qdisc(.pfifoFast, on: device, handle: 0, limit: devices[device].queueLength)
    devices[device].qdisc = qdiscs.insert(qdisc) ?? .none
  }

  /// IFLA_TXQLEN: a pfifo_fast is made as long; what does not fit any more ends (dev_change_tx_queue_len).
  mutating func changeQueueLength(_ device: DeviceIndex, _ length: UInt32) {
    devices[device].queueLength = length
    let root = devices[device].qdisc
    guard !root.isNone, case .pfifoFast = qdiscs[root].kind else { return }
    qdiscs[root].limit = length
    for band in 0..<3 {
      var kept = SlotQueue()
      while true {
        let slot = qdiscs[root].bands[band].pop(pool)
        guard slot != .none else { break }
        if kept.count < length {
          kept.append(slot, pool)
        } else {
          queueShrinks(root, by: self.length(of: slot))
          drop(slot, .qdiscDrop, in: devices[device].namespace)
        }
      }
      qdiscs[root].bands[band] = kept
    }
  }

  mutating func deleteQdisc(_ message: QdiscMessage, in namespace: NamespaceIndex) throws(KernelError) {
    let device = try subject(message, in: namespace)
    let (index, parent) = try standingQdisc(message, on: device)
    let place = message.parent.rawValue
    guard place != 0 else { throw .invalid("Classid cannot be zero") }
    guard let index, qdiscs[index].handle != 0 else {
      throw KernelError(2, "Cannot delete qdisc with handle of zero")
    }
    graft(.none, parent, place, on: device)
  }

  /// What a request to remove or to show means; no index means the device's default.
  private func standingQdisc(
    _ message: QdiscMessage, on device: DeviceIndex
  ) throws(KernelError) -> (QdiscIndex?, parent: QdiscIndex) {
    let handle = message.handle.rawValue
    let place = message.parent.rawValue
    var parent = QdiscIndex.none
    var index: QdiscIndex?
    if place == 0 {
      index = qdisc(handle: handle, of: device)
      guard index != nil else { throw KernelError(2, "Failed to find qdisc with specified handle") }
    } else {
      if place == Qdisc.root {
        index = devices[device].qdisc.isNone ? nil : devices[device].qdisc
      } else {
        guard let outer = qdisc(handle: place & 0xffff_0000, of: device) else {
          throw KernelError(2, "Failed to find qdisc with specified classid")
        }
        parent = outer
        index = try leaf(place, of: outer)
        guard index != nil else { throw KernelError(2, "Cannot find specified qdisc on specified device") }
      }
      guard handle == 0 || index.map({ qdiscs[$0].handle }) ?? 0 == handle else {
        throw .invalid("Invalid handle")
      }
    }
    if let kind = message.kind?.name, kind != index.map({ name(of: $0) }) ?? defaultName(of: device) {
      throw .invalid("Invalid qdisc name: must match existing qdisc")
    }
    return (index, parent)
  }

  // MARK: Showing

  /// The name of a device's root qdisc, as IFLA_QDISC has it.
  func queueName(of device: DeviceIndex) -> String {
    devices[device].qdisc.isNone ? defaultName(of: device) : name(of: devices[device].qdisc)
  }

  private func defaultName(of device: DeviceIndex) -> String {
    devices[device].isQueueActive ? "noqueue" : "noop"
  }

  func qdiscEntries(
    _ filter: QdiscMessage, all: Bool, in namespace: NamespaceIndex
  ) throws(KernelError) -> [NetlinkMessage] {
    guard all else {
      let device = try subject(filter, in: namespace)
      guard let index = try standingQdisc(filter, on: device).0 else {
        return [defaultMessage(device).message(.newQdisc, [])]
      }
      return [message(index).message(.newQdisc, [])]
    }
    var answers: [NetlinkMessage] = []
    for device in namespaces[namespace].devices where devices[device].isQueueActive {
      guard filter.index == 0 || filter.index == devices[device].ifindex else { continue }
      if devices[device].qdisc.isNone { answers.append(defaultMessage(device).message(.newQdisc, [])) }
      for index in qdiscs(of: device) where !qdiscs[index].isHidden {
        answers.append(message(index).message(.newQdisc, []))
      }
    }
    return answers
  }

  private func defaultMessage(_ device: DeviceIndex) -> QdiscMessage {
    var message = QdiscMessage(index: devices[device].ifindex, kind: .other(defaultName(of: device), []))
    message.info = 2
    message.statistics = Rtnetlink.QdiscStatistics()
    return message
  }

  private func message(_ index: QdiscIndex) -> QdiscMessage {
    var message = QdiscMessage(
      index: devices[qdiscs[index].device].ifindex, parent: QdiscHandle(rawValue: qdiscs[index].place),
      handle: QdiscHandle(rawValue: qdiscs[index].handle), kind: settings(of: index))
    // How many refer to it: the device as its queue and as its root, or the class that it stands in.
    message.info = qdiscs[index].parent.isNone ? 2 : 1
    message.statistics = Self.message(qdiscs[index].statistics)
    return message
  }

  static func message(_ own: QdiscCounters) -> Rtnetlink.QdiscStatistics {
    var statistics = Rtnetlink.QdiscStatistics()
    statistics.bytes = own.bytes
    statistics.packets = own.packets
    statistics.queueLength = UInt32(clamping: own.queueLength)
    statistics.backlog = UInt32(clamping: own.backlog)
    statistics.drops = UInt32(truncatingIfNeeded: own.drops)
    statistics.requeues = UInt32(truncatingIfNeeded: own.requeues)
    statistics.overlimits = UInt32(truncatingIfNeeded: own.overlimits)
    return statistics
  }

  /// What a device's root qdisc has done; nil when it has none.
  public func queueStatistics(of device: DeviceIndex) -> QdiscCounters? {
    guard devices.contains(device), !devices[device].qdisc.isNone else { return nil }
    return qdiscs[devices[device].qdisc].statistics
  }
}
