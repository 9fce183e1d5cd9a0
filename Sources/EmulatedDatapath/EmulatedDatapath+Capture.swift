// SPDX-License-Identifier: GPL-2.0-or-later

// Capture in an emulated lab. The kernel notes the frames of the devices that somebody listens to; after each turn its
// thread sorts them to the captures that want them, and a thread of each capture's own writes them, since whoever reads
// may take their time and the lab must not wait for them.

import CLinux
import Capture
import Glibc
public import LabCore
import LabProcess
import LinuxObjects
import NetStack
import NetTypes
import Nftables
import Synchronization
public import SystemPackage

extension EmulatedDatapath {
  public func capture(
    _ request: CaptureRequest, into descriptor: FileDescriptor, of lab: LabName
  ) async throws(DatapathError) {
    let output = CaptureOutput(isPatient: clock.isVirtual, parts: threads.count)
    _ = output.append(request.heading)
    var begun: [(thread: KernelThread, number: UInt64)] = []
    do throws(DatapathError) {
      for thread in threads {
        let number = try await perform(on: lab, by: thread, "capture in lab '\(lab)'") {
          (kernel) throws(DatapathError) in try kernel.beginCapture(request, output)
        }
        begun.append((thread, number))
      }
    } catch {
      for (thread, number) in begun { thread.submit { kernel in kernel.endCapture(number) } }
      throw error
    }
    let all = begun
    let end = { @Sendable in
      for (thread, number) in all { thread.submit { kernel in kernel.endCapture(number) } }
    }
    await withTaskCancellationHandler {
      await blocking { output.write(to: descriptor) }
    } onCancel: {
      end()
    }
    // When nobody reads any more it has not been cancelled.
    end()
  }
}

/// What one capture has seen and not written yet.
final class CaptureOutput: Sendable {
  /// Bytes that wait for a slow reader; what is more is dropped and counted.
  static let limit = 64 << 20

  private struct State {
    var bytes: [UInt8] = []
    /// CPUs of which more may come.
    var parts: Int
    /// Nobody takes what is written.
    var isDeaf = false
  }

  /// Whether the lab waits for the writer. On virtual time that costs the lab nothing, and a run that is the same loses
  /// nothing of what it was before.
  private let isPatient: Bool
  private let state: Mutex<State>
  /// Readable when there is something to write, or nothing will come any more.
  private let wake = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
  /// Readable when something has been written.
  private let room = eventfd(0, Int32(EFD_CLOEXEC))

  /// - Parameter parts: how many CPUs write to it.
  init(isPatient: Bool, parts: Int) {
    self.isPatient = isPatient
    state = Mutex(State(parts: parts))
  }

  deinit {
    close(wake)
    close(room)
  }

  /// Takes more to write; false when there is no room for it.
  func append(_ bytes: [UInt8]) -> Bool {
    while true {
      let (fits, isFirst) = state.withLock { state in
        guard state.bytes.count + bytes.count <= Self.limit || state.bytes.isEmpty else {
          return (state.isDeaf, false)
        }
        defer { state.bytes += bytes }
        return (true, state.bytes.isEmpty)
      }
      if isFirst { Self.ring(wake) }
      if fits || !isPatient { return fits }
      Self.clear(room)
    }
  }

  /// Of one CPU nothing comes any more but these last bytes.
  func end(with bytes: [UInt8]) {
    state.withLock { state in
      state.bytes += bytes
      state.parts -= 1
    }
    Self.ring(wake)
  }

  private static func ring(_ bell: Int32) {
    var one: UInt64 = 1
    // A full counter has woken whoever waits already.
    _ = Glibc.write(bell, &one, MemoryLayout.size(ofValue: one))
  }

  /// Forgets that it has rung; one that blocks waits until it does.
  private static func clear(_ bell: Int32) {
    var count: UInt64 = 0
    _ = read(bell, &count, MemoryLayout.size(ofValue: count))
  }

  /// Writes what comes until the end, or until nobody reads it.
  fileprivate func write(to descriptor: FileDescriptor) {
    while true {
      let (bytes, isEnding) = state.withLock { state in
        defer { state.bytes = [] }
        return (state.bytes, state.parts <= 0)
      }
      do {
        try descriptor.writeAll(bytes)
      } catch {
        state.withLock { $0.isDeaf = true }
        return Self.ring(room)
      }
      Self.ring(room)
      if isEnding { return }
      guard bytes.isEmpty else { continue }
      var entry = pollfd(fd: wake, events: Int16(truncatingIfNeeded: POLLIN), revents: 0)
      nf_wait(&entry, 1, -1)
      Self.clear(wake)
    }
  }
}

/// What a rule, or a chain's policy, did to a packet.
struct RuleHit {
  struct Key: Hashable {
    var packet: UInt32
    var namespace: NamespaceID
  }

  var key: Key
  var step: TraceReport.RuleStep

  /// `gw forward: tcp dport 80 accept => accept`.
  var text: String {
    let place = key.namespace.node?.text ?? "\(key.namespace)"
    let rule = step.isPolicy ? "policy" : step.text ?? "a rule that is gone"
    return "\(place) \(step.hook), \(step.chain.chain): \(rule) => \(step.verdict)"
  }
}

extension CaptureRecord {
  /// The packet as its device's users see it: inside the kernel a tun's begin with an empty Ethernet header.
  func bytes(of kind: LinkType) -> ArraySlice<UInt8> { frame.dropFirst(kind == .raw ? 14 : 0) }
}

/// Everybody who listens in on one kernel.
struct Captures {
  /// One capture that is under way.
  fileprivate struct Session {
    let request: CaptureRequest
    let output: CaptureOutput
    /// From the lab's clock to the file's.
    let epoch: Int64
    /// The points' places, by device.
    let interfaces: [DeviceIndex: Int]
    /// By place.
    var received: [UInt64]
    var dropped: [UInt64]

    /// Writes what went by, and with each packet what befell it before anything else did.
    mutating func take(_ entries: [CaptureEntry], _ rules: [RuleHit], _ names: [NamespaceIndex: NamespaceID])
    {
      var packets: [CapturedPacket] = []
      var latest: [UInt32: Int] = [:]
      // What rules did to a packet stands with its first frame in their namespace.
      var places: [RuleHit.Key: Int] = [:]
      for entry in entries {
        switch entry {
        case .frame(let record):
          guard let packet = packet(record) else { continue }
          latest[record.packet] = packets.count
          let namespace = request.points[packet.interface].link.namespace
          let key = RuleHit.Key(packet: record.packet, namespace: namespace)
          if places[key] == nil { places[key] = packets.count }
          packets.append(packet)
        case .event(let event):
          guard let place = latest[event.packet], case .dropped(let reason) = event.kind else { continue }
          let name = names[event.namespace].map { $0.node?.text ?? "\($0)" } ?? "a namespace that is gone"
          packets[place].comments.append("dropped in \(name): \(reason.name)")
        }
      }
      for hit in rules {
        guard let place = places[hit.key] else { continue }
        packets[place].comments.insert(
          hit.text, at: packets[place].comments.count { !$0.hasPrefix("dropped") })
      }
      for packet in packets {
        var bytes: [UInt8] = []
        PcapngBlock.packet(packet).append(to: &bytes)
        if !output.append(bytes) { dropped[packet.interface] += 1 }
      }
    }

    private mutating func packet(_ record: CaptureRecord) -> CapturedPacket? {
      guard let place = interfaces[record.device] else { return nil }
      let point = request.points[place]
      // What a host sends to itself goes by once, not twice.
      if point.link.name == .loopback, record.direction == .transmitted { return nil }
      received[place] += 1
      let bytes = record.bytes(of: point.linkType)
      if let filter = request.filter, !filter.matches(bytes, of: point.linkType) { return nil }
      return CapturedPacket(
        interface: place, nanoseconds: time(record.time),
        direction: record.direction == .received ? .received : .transmitted, length: bytes.count,
        bytes: Array(bytes.prefix(Int(request.snapLength))))
    }

    private func time(_ instant: Instant) -> UInt64 { UInt64(clamping: instant.nanoseconds &+ epoch) }

    func finish(_ now: Instant) {
      var bytes: [UInt8] = []
      for place in interfaces.values.sorted() {
        PcapngBlock.statistics(
          CaptureStatistics(
            interface: place, nanoseconds: time(now), received: received[place], dropped: dropped[place])
        ).append(to: &bytes)
      }
      output.end(with: bytes)
    }
  }

  fileprivate var sessions: [UInt64: Session] = [:]
  /// Packets whose way is followed.
  var traces: [UInt64: TraceSession] = [:]
  fileprivate var last: UInt64 = 0

  /// Notes a trace; the answer is its number.
  mutating func add(_ trace: TraceSession) -> UInt64 {
    last += 1
    traces[last] = trace
    return last
  }

  fileprivate var isEmpty: Bool { sessions.isEmpty && traces.isEmpty }

  /// Devices that somebody listens to.
  fileprivate var devices: Set<DeviceIndex> {
    Set(sessions.values.flatMap(\.interfaces.keys) + traces.values.flatMap(\.interfaces.keys))
  }
}

extension EmulatedKernel {
  /// The places among some points of those devices that are on this CPU.
  func interfaces(of points: [CapturePoint]) throws(DatapathError) -> [DeviceIndex: Int] {
    var interfaces: [DeviceIndex: Int] = [:]
    for (place, point) in points.enumerated() where placement.cpu(of: point.link.namespace) == cpu {
      guard let namespace = namespaces[point.link.namespace],
        let device = stack.device(point.link.name.text, in: namespace)
      else {
        throw DatapathError(
          .notFound, operation: "capture on \(point.name)", path: point.link.path,
          cause: "the device is not there")
      }
      interfaces[device] = place
    }
    return interfaces
  }

  /// Begins a capture; the answer is the number to end it by.
  fileprivate func beginCapture(
    _ request: CaptureRequest, _ output: CaptureOutput
  ) throws(DatapathError) -> UInt64 {
    let interfaces = try interfaces(of: request.points)
    let none = [UInt64](repeating: 0, count: request.points.count)
    captures.last += 1
    captures.sessions[captures.last] = Captures.Session(
      request: request, output: output, epoch: epoch, interfaces: interfaces, received: none, dropped: none)
    listen(to: interfaces)
    return captures.last
  }

  fileprivate func endCapture(_ number: UInt64) {
    writeCaptures()
    guard let session = captures.sessions.removeValue(forKey: number) else { return }
    release(session.interfaces)
    session.finish(stack.now)
  }

  /// Begins the capture of devices, and of what rules do to packets.
  func listen(to interfaces: [DeviceIndex: Int]) {
    for device in interfaces.keys { stack.setCapture(true, on: device) }
    for namespace in namespaces.values { stack.setTraced(NftTraceFilter(), in: namespace) }
  }

  /// Ends the capture of devices that nobody else listens to.
  func release(_ interfaces: [DeviceIndex: Int]) {
    let others = captures.devices
    if captures.isEmpty { for namespace in namespaces.values { stack.setTraced(nil, in: namespace) } }
    for device in interfaces.keys where !others.contains(device) { stack.setCapture(false, on: device) }
  }

  /// What a record of the kernel says of a packet that has a number; nil where it only says that a chain begins.
  private func hit(_ record: NftTraceRecord, in namespace: NamespaceID) -> RuleHit? {
    guard record.packet != 0 else { return nil }
    let key = RuleHit.Key(packet: record.packet, namespace: namespace)
    let step = { (chain: NftChainKey, rule: NftRule?, isPolicy: Bool, verdict: NftVerdict) in
      TraceReport.RuleStep(
        namespace: namespace, visit: record.id, chain: chain, hook: record.hook.rawValue, rule: rule,
        sets: rule.map { self.stack.sets(of: $0, in: chain.table, of: record.namespace) } ?? [],
        isPolicy: isPolicy, verdict: verdict, writes: record.writes)
    }
    switch record.event {
    case .rule(let chain, let handle, let verdict):
      let rule = stack.rule(handle, of: chain, in: record.namespace)
      return RuleHit(key: key, step: step(chain, rule, false, verdict))
    case .policy(let chain, let verdict): return RuleHit(key: key, step: step(chain, nil, true, verdict))
    // What is translated shows in what leaves.
    case .packet, .translation: return nil
    }
  }

  /// Hands on what was seen.
  func writeCaptures() {
    guard !captures.isEmpty else { return }
    let entries = stack.takeCaptureEntries()
    let records = stack.takeTraces()
    guard !entries.isEmpty || !records.isEmpty else { return }
    let names = Dictionary(namespaces.map { ($0.value, $0.key) }, uniquingKeysWith: { first, _ in first })
    let hits = records.compactMap { record in names[record.namespace].flatMap { hit(record, in: $0) } }
    for number in captures.sessions.keys { captures.sessions[number]?.take(entries, hits, names) }
    for number in captures.traces.keys { captures.traces[number]?.take(entries, hits, names) }
  }
}
