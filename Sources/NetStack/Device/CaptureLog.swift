// SPDX-License-Identifier: GPL-2.0-or-later

// What capture sees: frames as they leave a device and as they are taken from its ring, before anything above it.
// Records go to one bounded log a CPU, from which whoever captures takes them. Off, it costs one branch a burst.

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
  /// All its bytes from the Ethernet header on.
  public var frame: [UInt8]
}

/// Frames that went by and have not been taken.
struct CaptureLog: ~Copyable {
  /// Bytes of frames that the log holds at most.
  static let limit = 64 << 20

  private(set) var records: [CaptureRecord] = []
  private var bytes = 0
  /// Frames that did not fit.
  private(set) var missed: UInt64 = 0

  mutating func append(_ record: CaptureRecord) {
    guard bytes + record.frame.count <= Self.limit else {
      missed += 1
      return
    }
    bytes += record.frame.count
    records.append(record)
  }

  mutating func take() -> [CaptureRecord] {
    defer {
      records = []
      bytes = 0
    }
    return records
  }
}

extension Kernel {
  /// Begins or ends the capture of a device's frames.
  public mutating func setCapture(_ isOn: Bool, on device: DeviceIndex) {
    guard devices.contains(device) else { return }
    devices[device].isCaptured = isOn
  }

  /// The frames captured since this was last asked, oldest first.
  public mutating func takeCapture() -> [CaptureRecord] { capture.take() }

  /// Frames that were not captured because nobody took the others in time.
  public var captureMissed: UInt64 { capture.missed }

  @inline(never)
  mutating func record(_ burst: borrowing Burst, on device: DeviceIndex, _ direction: CaptureRecord.Direction)
  {
    for position in 0..<burst.count {
      let frame = pool.withWire(burst[position]) { span in unsafe span.withUnsafeBytes { unsafe [UInt8]($0) }
      }
      capture.append(CaptureRecord(time: now, device: device, direction: direction, frame: frame))
    }
  }
}
