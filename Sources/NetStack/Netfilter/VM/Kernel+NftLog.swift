// SPDX-License-Identifier: GPL-2.0-or-later

// What rules log (nft_log.c). The kernel writes to its ring buffer or to a netlink group; here the records stand in a
// bounded list until whoever drives the stack takes them.

public import NetTypes
import Nftables

/// A packet that a rule logged.
public struct NftLogRecord: Hashable, Sendable {
  /// When.
  public var time: Instant
  /// In which namespace.
  public var namespace: NamespaceIndex
  /// What the rule says before it.
  public var prefix: String
  /// The devices that it came in and leaves by; empty for none.
  public var input: String
  /// The device that it leaves by; empty for none.
  public var output: String
  /// The packet from its network header on, at most 128 bytes.
  public var packet: [UInt8]
}

/// Records that nobody has taken yet.
struct NftLogList: ~Copyable {
  static let limit = 4096
  private(set) var records: [NftLogRecord] = []
  /// Records that came when there were too many already.
  private(set) var missed: UInt64 = 0

  mutating func append(_ record: NftLogRecord) {
    guard records.count < Self.limit else {
      missed &+= 1
      return
    }
    records.append(record)
  }

  mutating func take() -> [NftLogRecord] {
    defer { records = [] }
    return records
  }
}

extension Kernel {
  /// What rules have logged since this was last asked, the oldest first.
  public mutating func takeLogs() -> [NftLogRecord] { nftLogs.take() }

  /// Records that nobody took in time.
  public var logsMissed: UInt64 { nftLogs.missed }

  mutating func log(_ number: Int, _ packet: NftPacket) {
    let rule = namespaces[packet.namespace].nftables.program.logs[number]
    let bytes = pool.bytes(packet.slot, from: packet.networkHeader)
    nftLogs.append(
      NftLogRecord(
        time: now, namespace: packet.namespace, prefix: rule.prefix ?? "",
        input: devices.contains(packet.input) ? devices[packet.input].name.text : "",
        output: devices.contains(packet.output) ? devices[packet.output].name.text : "",
        packet: bytes.prefix(min(bytes.count, 128)).array))
  }
}
