// SPDX-License-Identifier: GPL-2.0-or-later

// The counters of a namespace, named as /proc/net/snmp, /proc/net/netstat and nstat name them (RFC 4293, RFC 2011).

/// A counter.
public enum SNMPCounter: UInt8, CaseIterable, Sendable {
  case ipInReceives
  case ipInHdrErrors
  case ipInAddrErrors
  case ipForwDatagrams
  case ipInUnknownProtos
  case ipInDiscards
  case ipInDelivers
  case ipOutRequests
  case ipOutDiscards
  case ipOutNoRoutes
  case ipReasmTimeout
  case ipReasmReqds
  case ipReasmOKs
  case ipReasmFails
  case ipFragOKs
  case ipFragFails
  case ipFragCreates
  case icmpInMsgs
  case icmpInErrors
  case icmpInCsumErrors
  case icmpInDestUnreachs
  case icmpInTimeExcds
  case icmpInParmProbs
  case icmpInSrcQuenchs
  case icmpInRedirects
  case icmpInEchos
  case icmpInEchoReps
  case icmpInTimestamps
  case icmpInTimestampReps
  case icmpInAddrMasks
  case icmpInAddrMaskReps
  case icmpOutMsgs
  case icmpOutErrors
  case icmpOutRateLimitGlobal
  case icmpOutRateLimitHost
  case icmpOutDestUnreachs
  case icmpOutTimeExcds
  case icmpOutParmProbs
  case icmpOutRedirects
  case icmpOutEchos
  case icmpOutEchoReps
  case icmpOutTimestampReps
  case udpInDatagrams
  case udpOutDatagrams
  case udpNoPorts
  case udpInErrors
  case udpInCsumErrors
  case udpRcvbufErrors
  case udpSndbufErrors
  case udpIgnoredMulti
  case tcpExtIPReversePathFilter
  case tcpExtArpFilter
  case ipExtInNoRoutes
  case ipExtReasmOverlaps
  case ipExtInTruncatedPkts
  case ipExtInCsumErrors

  /// The name that nstat gives it: `IpInReceives`.
  public var name: String {
    let text = "\(self)"
    return text.prefix(1).uppercased() + text.dropFirst()
  }
}

/// A namespace's counters.
public struct SNMPCounters: Sendable {
  private var counts = InlineArray<192, UInt64>(repeating: 0)

  /// All zero.
  public init() {}

  /// The value of one.
  public internal(set) subscript(counter: SNMPCounter) -> UInt64 {
    @inline(__always) get { counts[Int(counter.rawValue)] }
    @inline(__always) set { counts[Int(counter.rawValue)] = newValue }
  }
}
