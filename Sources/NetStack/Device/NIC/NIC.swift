// SPDX-License-Identifier: GPL-2.0-or-later

// A network card with its wire outside the kernel: queue pairs with an interrupt each, and what chooses among them.
// Frames that the wire brings are written into blocks that the driver has posted; what the driver has posted to send
// is read from its ring when the wire takes it. Its driver is in `Kernel+NIC.swift`; what `ethtool` shows and sets of
// it is in `Kernel+Ethtool.swift`.

public import NetTypes

typealias NICIndex = TableIndex<NIC>

/// A card.
struct NIC: ~Copyable {
  /// Queue pairs at most, which is as many as an indirection table can name and an interrupt's number can hold.
  static let maximumQueues = 64

  let device: DeviceIndex
  var queues: Table<QueuePair>
  var scaling: ReceiveSideScaling
  var coalescing = Coalescing()
  var ringSizes = RingSizes()
  /// Whether something is at the wire's other end.
  var hasLink = true
  /// Set for a tun or tap, whose wire is a program.
  var tunTap: TunTap?
  /// Whose turn it is to send.
  var nextTransmit = 0
  var errors = NICErrors()

  init(device: DeviceIndex, queues count: Int) {
    self.device = device
    queues = Table(limit: Self.maximumQueues)
    scaling = ReceiveSideScaling(queues: count)
    setQueues(count)
  }

  /// Outside, packets have no Ethernet header.
  var isLinkless: Bool { tunTap?.isTap == false }

  /// Packets that every TX ring can take: a queueing discipline stands before all of them, and waits for the fullest.
  var transmitRoom: Int {
    guard hasLink else { return .max }
    var room = Int.max
    for number in 0..<queues.count {
      room = min(room, ringSizes.transmit &- queues[QueueIndex(UInt32(number))].transmit.used)
    }
    return room
  }

  /// Rings are made anew; nothing may be in the old ones.
  mutating func setQueues(_ count: Int) {
    queues = Table(limit: Self.maximumQueues)
    for _ in 0..<count { _ = queues.insert(QueuePair(ringSizes)) }
    scaling.setIndirection((0..<ReceiveSideScaling.indirectionSize).map { UInt8($0 % count) })
  }
}

/// An RX, a TX and a completion ring with their interrupt.
struct QueuePair: ~Copyable {
  /// Blocks that wait for frames.
  var receive: DescriptorRing
  /// Packets that wait for the wire.
  var transmit: DescriptorRing
  var completions: CompletionRing
  var napi = NAPI()
  /// By `CompletionKind`.
  var moderation = InlineArray<2, Moderation>(repeating: Moderation())
  /// A timer is running that will post blocks again.
  var isRefillArmed = false
  var statistics = QueueStatistics()

  init(_ sizes: RingSizes) {
    receive = DescriptorRing(size: sizes.receive)
    transmit = DescriptorRing(size: sizes.transmit)
    var size = 1
    while size < sizes.receive + sizes.transmit { size *= 2 }
    completions = CompletionRing(size: size)
  }
}

/// What one of the two kinds of completions has waiting for its interrupt.
struct Moderation {
  /// Completions since the last interrupt.
  var waiting = 0
  /// Nanoseconds; until when the first of them may wait.
  var deadline: Int64 = 0
  /// A timer is running.
  var isArmed = false
}

/// The two kinds of completions.
enum CompletionKind: Int {
  case receive, transmit
}

/// Sizes of rings, as `ethtool -g` shows them.
public struct RingSizes: Hashable, Sendable {
  /// The least and the most that a ring can be.
  public static let limits = 64...4096

  /// RX: a power of two.
  public var receive = 256
  /// TX: a power of two.
  public var transmit = 256

  /// 256 each.
  public init() {}
}

/// When a NIC interrupts, as `ethtool -c` shows it.
public struct Coalescing: Hashable, Sendable {
  /// `rx-usecs`: how long a received frame may wait; zero: not at all.
  public var receiveDelay: Interval = .zero
  /// `rx-frames`: how many may wait at most; zero: any number.
  public var receiveFrames = 0
  /// `tx-usecs`: how long a packet that was sent may wait to be given back.
  public var transmitDelay: Interval = .zero
  /// `tx-frames`: how many may wait at most; zero: any number.
  public var transmitFrames = 0

  /// Every completion interrupts.
  public init() {}

  func limits(_ kind: CompletionKind) -> (delay: Interval, frames: Int) {
    kind == .receive ? (receiveDelay, receiveFrames) : (transmitDelay, transmitFrames)
  }
}

/// What a queue pair counts.
public struct QueueStatistics: Hashable, Sendable {
  /// Frames that the driver has read.
  public var receivedPackets: UInt64 = 0
  /// Bytes of them.
  public var receivedBytes: UInt64 = 0
  /// Frames for which the RX ring had no block.
  public var missed: UInt64 = 0
  /// Frames, or blocks to be posted, for which there was no memory.
  public var allocationFailures: UInt64 = 0
  /// Frames whose transport's checksum is wrong.
  public var checksumErrors: UInt64 = 0
  /// Packets that the driver has posted.
  public var transmittedPackets: UInt64 = 0
  /// Bytes of them.
  public var transmittedBytes: UInt64 = 0
  /// Packets that the full TX ring would not take.
  public var busy: UInt64 = 0
  /// Interrupts raised.
  public var interrupts: UInt64 = 0

  init() {}
}

/// What a NIC drops before any queue.
struct NICErrors {
  var tooLong: UInt64 = 0
  var tooShort: UInt64 = 0
}
