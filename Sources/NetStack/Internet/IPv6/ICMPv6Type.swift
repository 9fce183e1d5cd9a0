// SPDX-License-Identifier: GPL-2.0-or-later

// The types of ICMPv6 (RFC 4443, 4861, 2710, 3810), and what is counted of them.

/// The types that are sent or understood here.
enum ICMPv6Type: UInt8 {
  case destinationUnreachable = 1
  case packetTooBig = 2
  case timeExceeded = 3
  case parameterProblem = 4
  case echo = 128
  case echoReply = 129
  case listenerQuery = 130
  case listenerReport = 131
  case listenerDone = 132
  case routerSolicitation = 133
  case routerAdvertisement = 134
  case neighborSolicitation = 135
  case neighborAdvertisement = 136
  case redirect = 137
  case listenerReport2 = 143

  static func isError(_ type: UInt8) -> Bool { type < 128 }

  var inputCounter: SNMPCounter {
    switch self {
    case .destinationUnreachable: .icmp6InDestUnreachs
    case .packetTooBig: .icmp6InPktTooBigs
    case .timeExceeded: .icmp6InTimeExcds
    case .parameterProblem: .icmp6InParmProblems
    case .echo: .icmp6InEchos
    case .echoReply: .icmp6InEchoReplies
    case .listenerQuery: .icmp6InGroupMembQueries
    case .listenerReport: .icmp6InGroupMembResponses
    case .listenerDone: .icmp6InGroupMembReductions
    case .routerSolicitation: .icmp6InRouterSolicits
    case .routerAdvertisement: .icmp6InRouterAdvertisements
    case .neighborSolicitation: .icmp6InNeighborSolicits
    case .neighborAdvertisement: .icmp6InNeighborAdvertisements
    case .redirect: .icmp6InRedirects
    case .listenerReport2: .icmp6InMLDv2Reports
    }
  }

  var outputCounter: SNMPCounter {
    switch self {
    case .destinationUnreachable: .icmp6OutDestUnreachs
    case .packetTooBig: .icmp6OutPktTooBigs
    case .timeExceeded: .icmp6OutTimeExcds
    case .parameterProblem: .icmp6OutParmProblems
    case .echo: .icmp6OutEchos
    case .echoReply: .icmp6OutEchoReplies
    case .listenerQuery: .icmp6OutGroupMembQueries
    case .listenerReport: .icmp6OutGroupMembResponses
    case .listenerDone: .icmp6OutGroupMembReductions
    case .routerSolicitation: .icmp6OutRouterSolicits
    case .routerAdvertisement: .icmp6OutRouterAdvertisements
    case .neighborSolicitation: .icmp6OutNeighborSolicits
    case .neighborAdvertisement: .icmp6OutNeighborAdvertisements
    case .redirect: .icmp6OutRedirects
    case .listenerReport2: .icmp6OutMLDv2Reports
    }
  }
}
