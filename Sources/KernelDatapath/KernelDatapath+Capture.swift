// SPDX-License-Identifier: GPL-2.0-or-later

// Capture in the host's kernel: a packet socket for each device (packet(7)), opened in the device's namespace, and one
// thread that takes from all of them. What they give is put in order of time before it is written: what is younger than a
// millisecond waits, since another socket may have something older.

import CLinux
import Capture
import Glibc
public import LabCore
import LabProcess
import LinuxObjects
import NetTypes
import Rtnetlink
public import SystemPackage

extension KernelDatapath {
  public func capture(
    _ request: CaptureRequest, into descriptor: FileDescriptor, of lab: LabName
  ) async throws(DatapathError) {
    let listeners = try await perform(on: lab, "capture in lab '\(lab)'") {
      (kernel) throws(DatapathError) in
      var listeners: [OwnedDescriptor] = []
      for point in request.points { listeners.append(try Self.listen(point, kernel)) }
      return listeners
    }
    let stop = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
    defer { close(stop) }
    let capture = PacketCapture(request: request, listeners: listeners, stop: stop)
    await withTaskCancellationHandler {
      await blocking {
        var work = capture
        work.run(into: descriptor)
      }
    } onCancel: {
      var one: UInt64 = 1
      _ = write(stop, &one, MemoryLayout.size(ofValue: one))
    }
  }

  static func listen(
    _ point: CapturePoint, _ kernel: HostKernel
  ) throws(DatapathError) -> OwnedDescriptor {
    do throws(TransportError) {
      let open = try kernel.open(point.link.namespace)
      let links = try kernel.channel(to: point.link.namespace).allLinks()
      guard let link = links.first(where: { $0.name == point.link.name.text }) else {
        throw TransportError(errno: ENODEV)
      }
      try kernel.thread.enter(open.namespace)
      let socket = nf_packet_listen(link.index)
      guard socket >= 0 else { throw TransportError(errno: -socket) }
      return OwnedDescriptor(FileDescriptor(rawValue: socket))
    } catch {
      let isPermission = error.errno == EPERM || error.errno == EACCES
      throw DatapathError(
        isPermission ? .permission : .refused, operation: "capture on \(point.name)", path: point.link.path,
        errno: error.errno == 0 ? nil : error.errno, cause: error.cause,
        remedy: isPermission ? Privilege.remedy : nil)
    }
  }
}

/// A capture that is under way.
struct PacketCapture: Sendable {
  let request: CaptureRequest
  /// By the points' places.
  let listeners: [OwnedDescriptor]
  /// Readable when it is to end.
  let stop: Int32

  /// Packets that wait for older ones.
  private var waiting: [CapturedPacket] = []
  private var received: [UInt64]
  private var dropped: [UInt64]

  /// Nanoseconds that a packet waits for older ones.
  private static let patience: UInt64 = 1_000_000
  /// Packets that are taken from a socket before the others have their turn.
  private static let turn = 256

  init(request: CaptureRequest, listeners: [OwnedDescriptor], stop: Int32) {
    self.request = request
    self.listeners = listeners
    self.stop = stop
    received = [UInt64](repeating: 0, count: listeners.count)
    dropped = received
  }

  /// Writes until it is to end, or until nobody reads.
  mutating func run(into output: FileDescriptor) {
    var entries = (listeners.map(\.descriptor.rawValue) + [stop]).map {
      pollfd(fd: $0, events: Int16(truncatingIfNeeded: POLLIN), revents: 0)
    }
    var frame = [UInt8](repeating: 0, count: Int(CaptureRequest.wholePackets) + 4)
    do {
      try output.writeAll(request.heading)
      while entries[listeners.count].revents == 0 {
        nf_wait(&entries, Int32(entries.count), waiting.isEmpty ? -1 : Int64(Self.patience))
        let now = Self.now()
        for place in listeners.indices where entries[place].revents != 0 { take(from: place, &frame) }
        try output.writeAll(settled(before: now - min(now, Self.patience)))
      }
      for place in listeners.indices { take(from: place, &frame) }
      try output.writeAll(settled(before: .max) + statistics())
    } catch {
      // Who reads has gone.
    }
  }

  /// The frames that are a packet that is traced, or answers to it, until there is an answer or the time is over.
  mutating func sightings(of trace: TraceRequest) -> [TraceReport.Sighting] {
    var entries = listeners.map {
      pollfd(fd: $0.descriptor.rawValue, events: Int16(truncatingIfNeeded: POLLIN), revents: 0)
    }
    var frame = [UInt8](repeating: 0, count: Int(CaptureRequest.wholePackets) + 4)
    var found: [CapturedPacket] = []
    let end = Self.now() + UInt64(clamping: trace.wait.nanoseconds)
    // What follows an answer closely belongs to it.
    var last = end
    while Self.now() < last {
      nf_wait(&entries, Int32(entries.count), Int64(Self.patience) * 5)
      for place in listeners.indices where entries[place].revents != 0 { take(from: place, &frame) }
      for packet in waiting {
        let point = trace.points[packet.interface]
        guard let flow = PacketFlow(packet.bytes, point.linkType) else { continue }
        let isAnswer = trace.probe.answer(in: flow) != nil
        guard isAnswer || trace.probe.isCarried(by: flow) else { continue }
        found.append(packet)
        if isAnswer, packet.direction == .received, point.link.namespace == .node(trace.node) {
          last = min(last, Self.now() + 10 * Self.patience)
        }
      }
      waiting = []
    }
    return found.enumerated().sorted {
      ($0.element.nanoseconds, $0.offset) < ($1.element.nanoseconds, $1.offset)
    }
    .map { _, packet in
      TraceReport.Sighting(
        point: packet.interface, direction: packet.direction, time: packet.nanoseconds, bytes: packet.bytes)
    }
  }

  private mutating func take(from place: Int, _ frame: inout [UInt8]) {
    let point = request.points[place]
    for _ in 0..<Self.turn {
      var packet = nf_packet()
      // An error of the device (ENETDOWN) is no packet, and is told once.
      guard nf_packet_take(listeners[place].descriptor.rawValue, &frame, frame.count, &packet) == 1 else {
        return
      }
      // What a host sends to itself goes by once, not twice.
      if point.link.name == .loopback, packet.outgoing != 0 { continue }
      received[place] += 1
      let bytes = frame[..<Int(packet.stored)]
      if let filter = request.filter, !filter.matches(bytes, of: point.linkType) { continue }
      waiting.append(
        CapturedPacket(
          interface: place, nanoseconds: UInt64(clamping: packet.nanoseconds),
          direction: packet.outgoing == 0 ? .received : .transmitted, length: Int(packet.length),
          bytes: Array(bytes.prefix(Int(request.snapLength)))))
    }
  }

  /// The packets that nothing older can come before any more, as blocks.
  private mutating func settled(before limit: UInt64) -> [UInt8] {
    guard !waiting.isEmpty else { return [] }
    let order = waiting.indices.sorted { (waiting[$0].nanoseconds, $0) < (waiting[$1].nanoseconds, $1) }
    var bytes: [UInt8] = []
    var rest: [CapturedPacket] = []
    for index in order {
      if waiting[index].nanoseconds < limit {
        PcapngBlock.packet(waiting[index]).append(to: &bytes)
      } else {
        rest.append(waiting[index])
      }
    }
    waiting = rest
    return bytes
  }

  private func statistics() -> [UInt8] {
    var bytes: [UInt8] = []
    for place in listeners.indices {
      var (packets, drops) = (UInt32(0), UInt32(0))
      _ = nf_packet_statistics(listeners[place].descriptor.rawValue, &packets, &drops)
      PcapngBlock.statistics(
        CaptureStatistics(
          interface: place, nanoseconds: Self.now(), received: received[place], dropped: UInt64(drops))
      ).append(to: &bytes)
    }
    return bytes
  }

  private static func now() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}
