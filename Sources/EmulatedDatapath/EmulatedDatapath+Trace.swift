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
    var begun: [(thread: KernelThread, number: UInt64)] = []
    let result: Result<Void, DatapathError>
    do throws(DatapathError) {
      for thread in threads {
        let number = try await perform(on: lab, by: thread, "trace in lab '\(lab)'") {
          (kernel) throws(DatapathError) in try kernel.beginTrace(request)
        }
        begun.append((thread, number))
      }
      try await follow(request, begun[placement.cpu(of: .node(request.node))].number)
      result = .success(())
    } catch {
      result = .failure(error)
    }
    var report = TraceReport()
    for (thread, number) in begun { report.add(await thread.perform { kernel in kernel.endTrace(number) }) }
    try result.get()
    return report
  }

  /// Sends the packet, and waits for an answer to it.
  private func follow(_ request: TraceRequest, _ number: UInt64) async throws(DatapathError) {
    try await perform(on: lab, in: .node(request.node), "trace in lab '\(lab)'") {
      (kernel) throws(DatapathError) in
      do throws(TransportError) {
        try kernel.send(request.probe, from: request.node, number)
      } catch {
        throw DatapathError(
          .refused, operation: "send a packet", path: StatePath(.node(request.node)),
          errno: error.errno == 0 ? nil : error.errno, cause: error.cause)
      }
    }
    let deadline = clock.now() + request.wait
    while clock.now() < deadline {
      await clock.sleep(until: clock.now() + .milliseconds(5))
      let isDone = try await perform(on: lab, in: .node(request.node), "trace in lab '\(lab)'") {
        (kernel) throws(DatapathError) in kernel.captures.traces[number]?.isAnswered ?? true
      }
      if isDone { break }
    }
  }
}

extension TraceReport {
  /// What another CPU tells, in the order of time.
  fileprivate mutating func add(_ other: TraceReport) {
    rules += other.rules
    notes += other.notes
    guard !other.sightings.isEmpty else { return }
    // What has one time keeps its order.
    sightings = (sightings + other.sightings).enumerated().sorted {
      ($0.element.time, $0.offset) < ($1.element.time, $1.offset)
    }.map(\.element)
  }
}

/// A trace that is under way.
struct TraceSession {
  let interfaces: [DeviceIndex: Int]
  fileprivate let request: TraceRequest
  fileprivate let epoch: Int64
  fileprivate var report = TraceReport()
  /// What the kernel knows the packet by; on a CPU that it comes to, from its first device there.
  fileprivate var numbers: Set<UInt32> = []
  /// What it knows answers by.
  fileprivate var answers: Set<UInt32> = []
  fileprivate var isAnswered = false

  mutating func take(_ entries: [CaptureEntry], _ rules: [RuleHit], _ names: [NamespaceIndex: NamespaceID]) {
    // What befell a packet before its first device here is told by the number that it has from there on.
    for case .frame(let record) in entries { recognize(record) }
    for entry in entries { take(entry, names) }
    report.rules += rules.filter { numbers.contains($0.key.packet) }.map(\.step)
  }

  private mutating func take(_ entry: CaptureEntry, _ names: [NamespaceIndex: NamespaceID]) {
    switch entry {
    case .frame(let record): take(record)
    case .event(let event):
      let isAnswer = answers.contains(event.packet)
      guard numbers.contains(event.packet) || isAnswer, let namespace = names[event.namespace] else { return }
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

  /// Learns a frame's number if it is the packet's, or that of an answer to it.
  private mutating func recognize(_ record: CaptureRecord) {
    guard !numbers.contains(record.packet), !answers.contains(record.packet),
      let place = interfaces[record.device]
    else { return }
    let kind = request.points[place].linkType
    guard let flow = PacketFlow(Array(record.bytes(of: kind)), kind) else { return }
    if request.probe.isCarried(by: flow) {
      numbers.insert(record.packet)
    } else if request.probe.answer(in: flow) != nil {
      answers.insert(record.packet)
    }
  }

  /// Notes a frame if it is the packet, or an answer to it.
  private mutating func take(_ record: CaptureRecord) {
    guard let place = interfaces[record.device],
      numbers.contains(record.packet) || answers.contains(record.packet)
    else { return }
    let point = request.points[place]
    if point.link.name == .loopback, record.direction == .transmitted { return }
    let bytes = Array(record.bytes(of: point.linkType))
    if answers.contains(record.packet) {
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
      let packet = try stack.sendWatched(
        probe.transportBytes, proto: probe.proto, from: probe.source, to: probe.destination,
        hopLimit: probe.hopLimit, in: namespace)
      captures.traces[number]?.numbers.insert(packet)
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
