// SPDX-License-Identifier: GPL-2.0-or-later

// What capture sees: frames as they leave a device and as they are taken from its ring, before anything above it; and of
// those packets, and their copies and pieces, why they end. A packet that has been seen has a number, which goes with it
// over all hops. Records go to one bounded log a CPU, from which whoever captures takes them. Off, it costs one branch a
// burst, and one a packet that is dropped.

public import NetTypes

/// A frame that went by.
public struct CaptureRecord: Hashable, Sendable {
  /// The way that it went.
  public enum Direction: UInt8, Sendable {
    case received, transmitted
  }

  /// When.
  public var time: Instant
  /// By which device.
  public var device: DeviceIndex
  /// In which direction.
  public var direction: Direction
  /// The packet's, and that of its copies and pieces; never 0.
  public var packet: UInt32
  /// All its bytes from the Ethernet header on.
  public var frame: [UInt8]
}

/// What befell a packet that has a number.
public struct PacketEvent: Hashable, Sendable {
  /// What it was.
  public enum Kind: Hashable, Sendable {
    /// It ended.
    case dropped(DropReason)
    /// Its next hop has to be found first.
    case waitsForNeighbor
    /// It stands in a device's ring: how many do with it, and how many can.
    case ring(DeviceIndex, fill: Int, size: Int)
    /// A turn of NAPI has taken it out of the ring, as the so manyth of that turn.
    case polled(DeviceIndex, place: Int)
  }

  /// When.
  public var time: Instant
  /// Its number.
  public var packet: UInt32
  /// Where it was.
  public var namespace: NamespaceIndex
  /// What it was.
  public var kind: Kind
}

/// One thing that capture has seen, in the order of seeing.
public enum CaptureEntry: Hashable, Sendable {
  /// A frame at a device.
  case frame(CaptureRecord)
  /// What befell a packet.
  case event(PacketEvent)
}

/// What was seen and has not been taken.
struct CaptureLog: ~Copyable {
  /// Bytes that the log holds at most.
  static let limit = 64 << 20
  /// What an event counts.
  private static let eventSize = 64

  private(set) var entries: [CaptureEntry] = []
  private var bytes = 0
  /// Frames and events that did not fit.
  private(set) var missed: UInt64 = 0
  /// The latest number that a packet was given.
  private var lastNumber: UInt32 = 0
  /// Whether rings are told of: they are for whoever follows one packet, and twice as much as its frames.
  var tellsRings = false

  mutating func append(_ record: CaptureRecord) { append(.frame(record), size: record.frame.count) }

  mutating func append(_ event: PacketEvent) { append(.event(event), size: Self.eventSize) }

  private mutating func append(_ entry: CaptureEntry, size: Int) {
    guard bytes + size <= Self.limit else {
      missed += 1
      return
    }
    bytes += size
    entries.append(entry)
  }

  mutating func take() -> [CaptureEntry] {
    defer {
      entries = []
      bytes = 0
    }
    return entries
  }

  mutating func nextNumber() -> UInt32 {
    lastNumber = lastNumber == .max ? 1 : lastNumber + 1
    return lastNumber
  }
}

extension Kernel {
  /// Begins or ends the capture of a device's frames.
  public mutating func setCapture(_ isOn: Bool, on device: DeviceIndex) {
    guard devices.contains(device) else { return }
    devices[device].isCaptured = isOn
  }

  /// Begins or ends telling of the rings that packets stand in, of captured devices.
  public mutating func setRingEvents(_ isOn: Bool) { capture.tellsRings = isOn }

  /// The frames captured since this was last asked, oldest first.
  public mutating func takeCapture() -> [CaptureRecord] {
    capture.take().compactMap { entry in
      if case .frame(let record) = entry { record } else { nil }
    }
  }

  /// The same with what befell the packets.
  public mutating func takeCaptureEntries() -> [CaptureEntry] { capture.take() }

  /// What was not captured because nobody took the rest in time.
  public var captureMissed: UInt64 { capture.missed }

  @inline(never)
  mutating func record(_ burst: borrowing Burst, on device: DeviceIndex, _ direction: CaptureRecord.Direction)
  {
    for position in 0..<burst.count {
      let slot = burst[position]
      if !pool[slot].isWatched { pool.watch(slot, as: capture.nextNumber()) }
      let frame = pool.withWire(slot) { span in unsafe span.withUnsafeBytes { unsafe [UInt8]($0) } }
      capture.append(
        CaptureRecord(
          time: now, device: device, direction: direction, packet: pool.watchNumber(slot), frame: frame))
    }
  }

  /// Notes that packets have come into a device's ring, where the last of them stands as the `fill`th.
  @inline(never)
  mutating func recordRing(
    _ burst: borrowing Burst, _ count: Int, on device: DeviceIndex, fill: Int, size: Int
  ) {
    for position in 0..<count where pool[burst[position]].isWatched {
      let place = fill &- count &+ position &+ 1
      note(.ring(device, fill: place, size: size), burst[position], in: devices[device].namespace)
    }
  }

  /// Notes that a turn of NAPI, which had taken `done` packets before, has taken these out of a device's ring. What has
  /// come from another CPU is numbered here, and where it stood is known only now.
  @inline(never)
  mutating func recordPoll(_ burst: borrowing Burst, on device: DeviceIndex, after done: Int) {
    let namespace = devices[device].namespace
    for position in 0..<burst.count {
      let slot = burst[position]
      if case .crossing = devices[device].kind {
        pool.watch(slot, as: capture.nextNumber())
        note(.ring(device, fill: position &+ 1, size: Int(FrameRing.limit)), slot, in: namespace)
      }
      if pool[slot].isWatched { note(.polled(device, place: done &+ position &+ 1), slot, in: namespace) }
    }
  }

  /// Whether what stands in a device's ring is told of.
  @inline(__always) func tellsRing(of device: DeviceIndex) -> Bool {
    devices[device].isCaptured && capture.tellsRings
  }

  /// Notes what befalls a packet that has a number.
  @inline(never)
  mutating func note(_ kind: PacketEvent.Kind, _ slot: Slot, in namespace: NamespaceIndex) {
    capture.append(
      PacketEvent(time: now, packet: pool.watchNumber(slot), namespace: namespace, kind: kind))
  }
}
