// SPDX-License-Identifier: GPL-2.0-or-later

// A packet's way through an emulated lab, exactly: the kernel notes what befalls the packet in the order in which it does.

import Capture
import Glibc
public import LabCore
import LabProcess
import LinuxObjects
import NetStack
import NetTypes
import Nftables

extension EmulatedDatapath {
  public func trace(_ request: TraceRequest, of lab: LabName) async throws(DatapathError) -> TraceReport {
    let number = try await perform(on: lab, "trace in lab '\(lab)'") { (kernel) throws(DatapathError) in
      let number = try kernel.beginTrace(request)
      do throws(TransportError) {
        try kernel.send(request.probe, from: request.node, number)
      } catch {
        _ = kernel.endTrace(number)
        throw DatapathError(
          .refused, operation: "send a packet", path: StatePath(.node(request.node)),
          errno: error.errno == 0 ? nil : error.errno, cause: error.cause)
      }
      return number
    }
    let deadline = clock.now() + request.wait
    while clock.now() < deadline {
      await clock.sleep(until: clock.now() + .milliseconds(5))
      let isDone = try await perform(on: lab, "trace in lab '\(lab)'") { (kernel) throws(DatapathError) in
        kernel.captures.traces[number]?.isAnswered ?? true
      }
      if isDone { break }
    }
    return try await perform(on: lab, "trace in lab '\(lab)'") { (kernel) throws(DatapathError) in
      kernel.endTrace(number)
    }
  }
}

/// A trace that is under way.
struct TraceSession {
  let interfaces: [DeviceIndex: Int]
  fileprivate let request: TraceRequest
  fileprivate let epoch: Int64
  fileprivate var report = TraceReport()
  /// What the kernel knows the packet by.
  fileprivate var number: UInt32 = 0
  /// What it knows answers by.
  fileprivate var answers: Set<UInt32> = []
  fileprivate var isAnswered = false

  mutating func take(_ entries: [CaptureEntry], _ rules: [RuleHit], _ names: [NamespaceIndex: NamespaceID]) {
    for entry in entries { take(entry, names) }
    report.rules += rules.filter { $0.key.packet == number }.map(\.step)
  }

  private mutating func take(_ entry: CaptureEntry, _ names: [NamespaceIndex: NamespaceID]) {
    switch entry {
    case .frame(let record): take(record)
    case .event(let event):
      let isAnswer = answers.contains(event.packet)
      guard event.packet == number || isAnswer, let namespace = names[event.namespace] else { return }
      let kind: TraceReport.Note.Kind
      switch event.kind {
      case .dropped(let reason): kind = isAnswer ? .answerDropped(reason.name) : .dropped(reason.name)
      case .waitsForNeighbor:
        guard !isAnswer else { return }
        kind = .waitsForNeighbor
      case .ring(let device, let fill, let size):
        guard !isAnswer, let point = interfaces[device] else { return }
        kind = .ring(point: point, fill: fill, size: size)
      case .polled(let device, let place):
        guard !isAnswer, let point = interfaces[device] else { return }
        kind = .polled(point: point, place: place)
      }
      report.notes.append(TraceReport.Note(namespace: namespace, kind: kind, time: time(event.time)))
    }
  }

  private func time(_ instant: Instant) -> UInt64 { UInt64(clamping: instant.nanoseconds &+ epoch) }

  /// Notes a frame if it is the packet, or an answer to it.
  private mutating func take(_ record: CaptureRecord) {
    guard let place = interfaces[record.device] else { return }
    let point = request.points[place]
    if point.link.name == .loopback, record.direction == .transmitted { return }
    let bytes = Array(record.bytes(of: point.linkType))
    if record.packet != number {
      guard let flow = PacketFlow(bytes, point.linkType), request.probe.answer(in: flow) != nil else {
        return
      }
      answers.insert(record.packet)
      if record.direction == .received, point.link.namespace == .node(request.node) { isAnswered = true }
    }
    report.sightings.append(
      TraceReport.Sighting(
        point: place, direction: record.direction == .received ? .received : .transmitted,
        time: time(record.time), bytes: bytes))
  }
}

extension EmulatedKernel {
  fileprivate func beginTrace(_ request: TraceRequest) throws(DatapathError) -> UInt64 {
    let interfaces = try interfaces(of: request.points)
    let number = captures.add(TraceSession(interfaces: interfaces, request: request, epoch: epoch))
    listen(to: interfaces)
    stack.setRingEvents(true)
    return number
  }

  fileprivate func send(_ probe: ProbePacket, from node: NodeName, _ number: UInt64) throws(TransportError) {
    let namespace = try index(of: .node(node))
    do throws(KernelError) {
      captures.traces[number]?.number = try stack.sendWatched(
        probe.transportBytes, proto: probe.proto, from: probe.source, to: probe.destination,
        hopLimit: probe.hopLimit, in: namespace)
    } catch {
      throw TransportError(error)
    }
  }

  fileprivate func endTrace(_ number: UInt64) -> TraceReport {
    writeCaptures()
    guard let session = captures.traces.removeValue(forKey: number) else { return TraceReport() }
    release(session.interfaces)
    stack.setRingEvents(!captures.traces.isEmpty)
    return session.report
  }
}
