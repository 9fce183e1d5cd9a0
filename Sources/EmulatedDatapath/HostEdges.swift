// SPDX-License-Identifier: GPL-2.0-or-later

// Where an emulated lab ends and the host's network begins: a device of the lab whose wire is a tap of the host
// (Documentation/networking/tuntap.rst). A frame that the device sends is written into the tap and arrives on the host; what
// the host sends by the tap is read and arrives at the device. Checksums are complete and packets no longer than the
// MTU then, as on any wire. Where the lab may make no tap, the wire of its internet leads to a `HostGateway`.

import CLinux
import Glibc
import LabCore
import LabProcess
import LinuxObjects
import NetStack
import NetTypes
import SystemPackage

/// A device that is joined to the host.
struct HostEdge: Sendable {
  let link: LinkReference
  let device: DeviceIndex
  let tap: InterfaceName
  /// Whether the tap stands for the other end of a pair: it is the lab's, and goes with the device.
  let isPair: Bool
  /// Nil while what it leads to is not there.
  fileprivate(set) var wire: Wire?

  enum Wire: Sendable {
    case tap(OwnedDescriptor)
    case gateway(HostGateway)

    /// What tells that there is something to carry.
    fileprivate var descriptor: Int32 {
      switch self {
      case .tap(let tap): tap.descriptor.rawValue
      case .gateway(let gateway): gateway.descriptor
      }
    }
  }

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
  var descriptors: [Int32] { all.compactMap { $0.wire?.descriptor } }

  /// The taps that are joined now.
  var openTaps: [InterfaceName] { all.filter { $0.wire != nil }.map(\.tap) }

  mutating func add(_ edge: HostEdge) {
    all.append(edge)
    if frame.isEmpty { frame = [UInt8](repeating: 0, count: Self.longestFrame) }
  }

  fileprivate mutating func removeAll(where goes: (HostEdge) -> Bool) { all.removeAll(where: goes) }

  mutating func set(_ wire: HostEdge.Wire?, at position: Int) { all[position].wire = wire }
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
  func openTaps(ofPairs opensPairs: Bool) throws(DatapathError) {
    for (position, edge) in edges.all.enumerated() where edge.wire == nil {
      if edge.isPair, !opensPairs || !HostTap.exists(edge.tap) { continue }
      do throws(TransportError) {
        edges.set(.tap(try HostTap.open(edge.tap)), at: position)
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
      switch edge.wire {
      case .tap(let tap): if carry(edge, at: position, tap.descriptor.rawValue) { hasCarried = true }
      case .gateway(let gateway): if carry(edge, gateway) { hasCarried = true }
      case nil: break
      }
    }
    return hasCarried
  }

  private func carry(_ edge: HostEdge, at position: Int, _ tap: Int32) -> Bool {
    let hasSent = send(from: edge.device, to: tap)
    switch receive(from: tap, into: edge.device) {
    case .nothing: return hasSent
    case .frames: return true
    case .gone:
      edges.set(nil, at: position)
      // A device that went meanwhile has no wire to unplug.
      try? stack.setLink(false, of: edge.device)
      return true
    }
  }

  private func carry(_ edge: HostEdge, _ gateway: HostGateway) -> Bool {
    var hasCarried = gateway.takeNews(self)
    for _ in 0..<HostEdges.burst {
      guard let count = takeFrame(from: edge.device) else { break }
      if gateway.admits(edges.frame[..<count], self) { inject(count, into: gateway.device) }
      hasCarried = true
    }
    for _ in 0..<HostEdges.burst {
      guard let count = takeFrame(from: gateway.device) else { break }
      inject(count, into: edge.device)
      hasCarried = true
    }
    return hasCarried
  }

  /// Takes a frame that a device sends; its length.
  private func takeFrame(from device: DeviceIndex) -> Int? {
    stack.takeFrame(from: device) { frame in
      frame.withUnsafeBytes { bytes in
        let count = min(bytes.count, edges.frame.count)
        edges.frame.withUnsafeMutableBytes { $0.copyBytes(from: bytes[..<count]) }
        return count
      }
    }
  }

  /// Hands the frame that was taken to a device.
  private func inject(_ count: Int, into device: DeviceIndex) {
    edges.frame.withUnsafeBytes { bytes in
      let frame = UnsafeRawBufferPointer(rebasing: bytes[..<count])
      _ = stack.inject(RawSpan(_unsafeBytes: frame), into: device)
    }
  }

  /// Ends what leads to the host from a device that goes.
  func removeEdge(_ link: LinkReference) { removeEdges { $0.link == link } }

  func removeEdges(where goes: (HostEdge) -> Bool) {
    for edge in edges.all where goes(edge) {
      if case .gateway(let gateway) = edge.wire { gateway.endAll(self) }
    }
    edges.removeAll(where: goes)
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
      inject(count, into: device)
    }
    return .frames
  }
}

extension EmulatedMachine {
  /// All edges of the lab.
  var edges: [HostEdge] { kernels.flatMap(\.edges.all) }

  func openTaps(ofPairs opensPairs: Bool) throws(DatapathError) {
    for kernel in kernels { try kernel.openTaps(ofPairs: opensPairs) }
  }

  /// Takes over the edges that a batch has made and forgets those that it has taken away.
  func follow(_ share: HostShare) {
    for link in share.gone { kernel(of: link.namespace).removeEdge(link) }
    for new in share.made {
      let kernel = kernel(of: new.link.namespace)
      guard let index = kernel.namespaces[new.link.namespace],
        let device = kernel.stack.device(new.link.name.text, in: index)
      else { continue }
      kernel.removeEdge(new.link)
      kernel.edges.add(HostEdge(new.link, device, tap: new.tap, isPair: new.isPair))
    }
  }
}
