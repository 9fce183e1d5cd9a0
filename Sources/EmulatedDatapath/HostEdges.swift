// SPDX-License-Identifier: GPL-2.0-or-later

// Where an emulated lab ends and the host's network begins: a device of the lab whose wire is a tap of the host
// (Documentation/networking/tuntap.rst). A frame that the device sends is written into the tap and arrives on the host; what
// the host sends by the tap is read and arrives at the device. Checksums are complete and packets no longer than the
// MTU then, as on any wire.

import CLinux
import Glibc
import LabCore
import LabProcess
import LinuxObjects
import NetStack
import NetTypes
import SystemPackage

/// A device that is joined to a tap of the host.
struct HostEdge: Sendable {
  let link: LinkReference
  let device: DeviceIndex
  let tap: InterfaceName
  /// Whether the tap stands for the other end of a pair: it is the lab's, and goes with the device.
  let isPair: Bool
  /// Nil while the tap is not there.
  fileprivate(set) var descriptor: OwnedDescriptor?

  init(_ link: LinkReference, _ device: DeviceIndex, tap: InterfaceName, isPair: Bool) {
    self.link = link
    self.device = device
    self.tap = tap
    self.isPair = isPair
  }
}

/// The devices of one CPU that are joined to the host.
struct HostEdges {
  private(set) var all: [HostEdge] = []
  /// The frame that is read; made with the first edge.
  fileprivate var frame: [UInt8] = []

  /// Frames of one edge, each way, that are carried in a turn.
  fileprivate static let burst = 64
  /// The longest packet and its link header.
  private static let longestFrame = 65_535 + 14

  /// What tells that the host has sent something.
  var descriptors: [Int32] { all.compactMap { $0.descriptor?.descriptor.rawValue } }

  /// The taps that are joined now.
  var openTaps: [InterfaceName] { all.filter { $0.descriptor != nil }.map(\.tap) }

  mutating func add(_ edge: HostEdge) {
    remove(edge.link)
    all.append(edge)
    if frame.isEmpty { frame = [UInt8](repeating: 0, count: Self.longestFrame) }
  }

  mutating func remove(_ link: LinkReference) { all.removeAll { $0.link == link } }

  mutating func removeAll(in namespace: NamespaceID) { all.removeAll { $0.link.namespace == namespace } }

  fileprivate mutating func set(_ descriptor: OwnedDescriptor?, at position: Int) {
    all[position].descriptor = descriptor
  }
}

/// Opening a tap that the host has.
enum HostTap {
  static func exists(_ name: InterfaceName) -> Bool { if_nametoindex(name.text) != 0 }

  /// A device that is not there would be made.
  static func open(_ name: InterfaceName) throws(TransportError) -> OwnedDescriptor {
    guard exists(name) else { throw TransportError(errno: ENODEV, text: "the host has no \(name)") }
    let result = nf_tun_open(name.text, IFF_TAP | IFF_NO_PI, -1, -1, -1, 0)
    guard result >= 0 else { throw TransportError(errno: -result) }
    return OwnedDescriptor(FileDescriptor(rawValue: result))
  }
}

extension EmulatedKernel {
  /// Opens the taps that devices wait for. One that stands for the end of a pair may have to be made first.
  func openTaps() throws(DatapathError) {
    for (position, edge) in edges.all.enumerated() where edge.descriptor == nil {
      if edge.isPair, !HostTap.exists(edge.tap) { continue }
      do throws(TransportError) {
        edges.set(try HostTap.open(edge.tap), at: position)
        do throws(KernelError) { try stack.setLink(true, of: edge.device) } catch {
          throw TransportError(error)
        }
      } catch {
        throw DatapathError(
          .refused, operation: "join \(edge.tap) of the host", path: edge.link.path,
          errno: error.errno == 0 ? nil : error.errno, cause: error.cause)
      }
    }
  }

  /// Carries what waits at the edges, a burst each way. The answer is whether there was anything.
  func carryHostFrames() -> Bool {
    var hasCarried = false
    for (position, edge) in edges.all.enumerated() {
      guard let descriptor = edge.descriptor?.descriptor.rawValue else { continue }
      if send(from: edge.device, to: descriptor) { hasCarried = true }
      switch receive(from: descriptor, into: edge.device) {
      case .nothing: break
      case .frames: hasCarried = true
      case .gone:
        edges.set(nil, at: position)
        // A device that went meanwhile has no wire to unplug.
        try? stack.setLink(false, of: edge.device)
        hasCarried = true
      }
    }
    return hasCarried
  }

  /// What the host does not take, as a tap that is set down does not, is lost as on a cable; the host counts it.
  private func send(from device: DeviceIndex, to descriptor: Int32) -> Bool {
    for sent in 0..<HostEdges.burst {
      let frame: Void? = stack.takeFrame(from: device) { frame in
        frame.withUnsafeBytes { _ = write(descriptor, $0.baseAddress, $0.count) }
      }
      if frame == nil { return sent > 0 }
    }
    return true
  }

  private enum Reception { case nothing, frames, gone }

  private func receive(from descriptor: Int32, into device: DeviceIndex) -> Reception {
    for taken in 0..<HostEdges.burst {
      let count = edges.frame.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
      guard count > 0 else {
        // A tap that was deleted answers EBADFD from then on.
        if count < 0, errno != EAGAIN, errno != EINTR { return .gone }
        return taken > 0 ? .frames : .nothing
      }
      edges.frame.withUnsafeBytes { bytes in
        let frame = UnsafeRawBufferPointer(rebasing: bytes[..<count])
        _ = stack.inject(RawSpan(_unsafeBytes: frame), into: device)
      }
    }
    return .frames
  }
}

extension EmulatedMachine {
  /// All edges of the lab.
  var edges: [HostEdge] { kernels.flatMap(\.edges.all) }

  func openTaps() throws(DatapathError) {
    for kernel in kernels { try kernel.openTaps() }
  }

  /// Takes over the edges that a batch has made and forgets those that it has taken away.
  func follow(_ share: HostShare) {
    for link in share.gone { kernel(of: link.namespace).edges.remove(link) }
    for new in share.made {
      let kernel = kernel(of: new.link.namespace)
      guard let index = kernel.namespaces[new.link.namespace],
        let device = kernel.stack.device(new.link.name.text, in: index)
      else { continue }
      kernel.edges.add(HostEdge(new.link, device, tap: new.tap, isPair: new.isPair))
    }
  }
}
