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
  case tcpActiveOpens
  case tcpPassiveOpens
  case tcpAttemptFails
  case tcpEstabResets
  case tcpInSegs
  case tcpOutSegs
  case tcpRetransSegs
  case tcpInErrs
  case tcpOutRsts
  case tcpInCsumErrors
  case udpInDatagrams
  case udpOutDatagrams
  case udpNoPorts
  case udpInErrors
  case udpInCsumErrors
  case udpRcvbufErrors
  case udpSndbufErrors
  case udpIgnoredMulti
  case tcpExtIPReversePathFilter
  case tcpExtTCPTimeouts
  case tcpExtTCPRenoRecovery
  case tcpExtPAWSEstab
  case tcpExtPAWSTimewait
  case tcpExtPAWSOldAck
  case tcpExtTSEcrRejected
  case tcpExtBeyondWindow
  case tcpExtTCPChallengeACK
  case tcpExtTCPAbortOnData
  case tcpExtTCPAbortOnClose
  case tcpExtTCPOFOQueue
  case tcpExtListenOverflows
  case tcpExtListenDrops
  case tcpExtOutOfWindowIcmps
  case tcpExtSyncookiesSent
  case tcpExtSyncookiesRecv
  case tcpExtSyncookiesFailed
  case tcpExtEmbryonicRsts
  case tcpExtTW
  case tcpExtTWRecycled
  case tcpExtDelayedACKs
  case tcpExtDelayedACKLost
  case tcpExtTCPPureAcks
  case tcpExtTCPSackRecovery
  case tcpExtTCPSACKReneging
  case tcpExtTCPSACKReorder
  case tcpExtTCPRenoReorder
  case tcpExtTCPTSReorder
  case tcpExtTCPFullUndo
  case tcpExtTCPPartialUndo
  case tcpExtTCPDSACKUndo
  case tcpExtTCPLossUndo
  case tcpExtTCPLostRetransmit
  case tcpExtTCPRenoFailures
  case tcpExtTCPSackFailures
  case tcpExtTCPLossFailures
  case tcpExtTCPFastRetrans
  case tcpExtTCPSlowStartRetrans
  case tcpExtTCPLossProbes
  case tcpExtTCPLossProbeRecovery
  case tcpExtTCPRenoRecoveryFail
  case tcpExtTCPSackRecoveryFail
  case tcpExtTCPDSACKOldSent
  case tcpExtTCPDSACKOfoSent
  case tcpExtTCPDSACKRecv
  case tcpExtTCPDSACKOfoRecv
  case tcpExtTCPDSACKRecvSegs
  case tcpExtTCPDSACKIgnoredOld
  case tcpExtTCPDSACKIgnoredNoUndo
  case tcpExtTCPDSACKIgnoredDubious
  case tcpExtTCPSACKDiscard
  case tcpExtTCPAbortOnMemory
  case tcpExtTCPAbortOnTimeout
  case tcpExtTCPAbortOnLinger
  case tcpExtTCPSpuriousRTOs
  case tcpExtTCPRetransFail
  case tcpExtTCPTimeWaitOverflow
  case tcpExtTCPRcvCoalesce
  case tcpExtTCPOFODrop
  case tcpExtTCPOFOMerge
  case tcpExtTCPSYNChallenge
  case tcpExtTCPToZeroWindowAdv
  case tcpExtTCPFromZeroWindowAdv
  case tcpExtTCPWantZeroWindowAdv
  case tcpExtTCPSynRetrans
  case tcpExtTCPOrigDataSent
  case tcpExtTCPHystartTrainDetect
  case tcpExtTCPHystartTrainCwnd
  case tcpExtTCPHystartDelayDetect
  case tcpExtTCPHystartDelayCwnd
  case tcpExtTCPWinProbe
  case tcpExtTCPKeepAlive
  case tcpExtTCPMTUPFail
  case tcpExtTCPMTUPSuccess
  case tcpExtTCPDelivered
  case tcpExtTCPDeliveredCE
  case tcpExtTCPReqQFullDoCookies
  case tcpExtTCPReqQFullDrop
  case tcpExtTCPDeferAcceptDrop
  case tcpExtTCPZeroWindowDrop
  case tcpExtTCPAckCompressed
  case tcpExtTCPRcvQDrop
  case tcpExtTCPAutoCorking
  case tcpExtTCPACKSkippedSynRecv
  case tcpExtTCPACKSkippedPAWS
  case tcpExtTCPACKSkippedSeq
  case tcpExtTCPACKSkippedTimeWait
  case tcpExtTCPACKSkippedChallenge
  case tcpExtArpFilter
  case ipExtInNoRoutes
  case ipExtReasmOverlaps
  case ipExtInTruncatedPkts
  case ipExtInCsumErrors
  case udp6InDatagrams
  case udp6OutDatagrams
  case udp6NoPorts
  case udp6InErrors
  case udp6InCsumErrors
  case udp6RcvbufErrors
  case udp6SndbufErrors
  case udp6IgnoredMulti
  case ip6InReceives
  case ip6InHdrErrors
  case ip6InTooBigErrors
  case ip6InNoRoutes
  case ip6InAddrErrors
  case ip6InUnknownProtos
  case ip6InTruncatedPkts
  case ip6InDiscards
  case ip6InDelivers
  case ip6OutForwDatagrams
  case ip6OutRequests
  case ip6OutDiscards
  case ip6OutNoRoutes
  case ip6ReasmTimeout
  case ip6ReasmReqds
  case ip6ReasmOKs
  case ip6ReasmFails
  case ip6FragOKs
  case ip6FragFails
  case ip6FragCreates
  case ip6InMcastPkts
  case ip6OutMcastPkts
  case ip6OutTransmits
  case icmp6InMsgs
  case icmp6InErrors
  case icmp6OutMsgs
  case icmp6OutErrors
  case icmp6InCsumErrors
  case icmp6OutRateLimitHost
  case icmp6InDestUnreachs
  case icmp6InPktTooBigs
  case icmp6InTimeExcds
  case icmp6InParmProblems
  case icmp6InEchos
  case icmp6InEchoReplies
  case icmp6InGroupMembQueries
  case icmp6InGroupMembResponses
  case icmp6InGroupMembReductions
  case icmp6InRouterSolicits
  case icmp6InRouterAdvertisements
  case icmp6InNeighborSolicits
  case icmp6InNeighborAdvertisements
  case icmp6InRedirects
  case icmp6InMLDv2Reports
  case icmp6OutDestUnreachs
  case icmp6OutPktTooBigs
  case icmp6OutTimeExcds
  case icmp6OutParmProblems
  case icmp6OutEchos
  case icmp6OutEchoReplies
  case icmp6OutGroupMembQueries
  case icmp6OutGroupMembResponses
  case icmp6OutGroupMembReductions
  case icmp6OutRouterSolicits
  case icmp6OutRouterAdvertisements
  case icmp6OutNeighborSolicits
  case icmp6OutNeighborAdvertisements
  case icmp6OutRedirects
  case icmp6OutMLDv2Reports

  /// The name that nstat gives it: `IpInReceives`.
  public var name: String {
    let text = "\(self)"
    return text.prefix(1).uppercased() + text.dropFirst()
  }
}

/// A namespace's counters.
public struct SNMPCounters: Sendable {
  private var counts = InlineArray<256, UInt64>(repeating: 0)

  /// All zero.
  public init() {}

  /// The value of one.
  public internal(set) subscript(counter: SNMPCounter) -> UInt64 {
    @inline(__always) get { counts[Int(counter.rawValue)] }
    @inline(__always) set { counts[Int(counter.rawValue)] = newValue }
  }
}
