// SPDX-License-Identifier: GPL-2.0-or-later

// What both sides of an iperf3 test over TCP say on its control connection: single bytes that are states, and JSON behind a
// length of four bytes. `IperfServer` has the picture of a whole test.

import FoundationEssentials

/// A state of a test, as one byte.
public enum IperfState: UInt8, Sendable {
  case testStart = 1
  case testRunning = 2
  case testEnd = 4
  case parameterExchange = 9
  case createStreams = 10
  case serverTerminate = 11
  case clientTerminate = 12
  case exchangeResults = 13
  case displayResults = 14
  case done = 16
  case serverError = 0xfe
  case accessDenied = 0xff
}

/// What one side has counted.
public struct IperfResults: Encodable, Sendable {
  struct Stream: Encodable {
    var id: Int
    var bytes: UInt64
    /// -1: not known on this side.
    var retransmits: Int64
    var jitter = 0.0
    var errors = 0
    var packets = 0
    var startTime = 0.0
    var endTime: Double
  }

  var cpuUtilTotal = 0.0
  var cpuUtilUser = 0.0
  var cpuUtilSystem = 0.0
  var senderHasRetransmits: Int
  var streams: [Stream]

  /// - Parameters:
  ///   - bytes: of each stream.
  ///   - retransmits: of all of them; nil where this side does not know.
  public init(bytes: [UInt64], retransmits: Int64?, seconds: Double) {
    senderHasRetransmits = retransmits == nil ? -1 : 1
    streams = bytes.enumerated().map { place, bytes in
      Stream(
        id: Self.number(ofStream: place), bytes: bytes, retransmits: place == 0 ? retransmits ?? -1 : -1,
        endTime: seconds)
    }
  }

  /// iperf3 numbers streams 1, 3, 4, …
  static func number(ofStream place: Int) -> Int { place == 0 ? 1 : place + 2 }
}

/// A document as it stands on the control connection.
public enum IperfDocument {
  /// Bytes of a document that is read.
  public static let limit = 64 << 10

  public static func bytes(of document: some Encodable) -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.keyEncodingStrategy = .convertToSnakeCase
    // Numbers and fixed names alone are always JSON.
    let text = (try? encoder.encode(document)).map { [UInt8]($0) } ?? []
    return bytes(UInt32(text.count)) + text
  }

  static func bytes(_ number: UInt32) -> [UInt8] { withUnsafeBytes(of: number.bigEndian) { [UInt8]($0) } }
}
