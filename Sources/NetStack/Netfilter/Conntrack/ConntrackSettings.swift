// SPDX-License-Identifier: GPL-2.0-or-later

// The settings below net.netfilter, with the kernel's names and defaults (nf_conntrack_standalone.c).

import Nftables

/// A setting of connection tracking.
enum ConntrackSetting: Int, CaseIterable {
  case accounting, checksum, maximum
  case generic, icmp, icmpv6, udp, udpStream
  // Of TCP, in the order of the states.
  case synSent, synReceived, established, finWait, closeWait, lastAck, timeWait, close
  case maximumRetransmissions, retransmission, unacknowledged
  case loose, beLiberal, ignoreInvalidReset
  case flowtableTCP, flowtableUDP

  /// With slashes.
  var path: String {
    switch self {
    case .flowtableTCP, .flowtableUDP: "net/netfilter/nf_flowtable_" + described.name
    default: "net/netfilter/nf_conntrack_" + described.name
    }
  }

  var standard: Int32 { described.standard }

  private var described: (name: String, standard: Int32) {
    switch self {
    case .accounting: ("acct", 0)
    case .checksum: ("checksum", 1)
    case .maximum: ("max", 262_144)
    case .generic: ("generic_timeout", 600)
    case .icmp: ("icmp_timeout", 30)
    case .icmpv6: ("icmpv6_timeout", 30)
    case .udp: ("udp_timeout", 30)
    case .udpStream: ("udp_timeout_stream", 120)
    case .synSent: ("tcp_timeout_syn_sent", 120)
    case .synReceived: ("tcp_timeout_syn_recv", 60)
    case .established: ("tcp_timeout_established", 432_000)
    case .finWait: ("tcp_timeout_fin_wait", 120)
    case .closeWait: ("tcp_timeout_close_wait", 60)
    case .lastAck: ("tcp_timeout_last_ack", 30)
    case .timeWait: ("tcp_timeout_time_wait", 120)
    case .close: ("tcp_timeout_close", 10)
    case .maximumRetransmissions: ("tcp_max_retrans", 3)
    case .retransmission: ("tcp_timeout_max_retrans", 300)
    case .unacknowledged: ("tcp_timeout_unacknowledged", 300)
    case .loose: ("tcp_loose", 1)
    case .beLiberal: ("tcp_be_liberal", 0)
    case .ignoreInvalidReset: ("tcp_ignore_invalid_rst", 0)
    case .flowtableTCP: ("tcp_timeout", 30)
    case .flowtableUDP: ("udp_timeout", 30)
    }
  }

  /// By path, as the namespace's other settings stand.
  static let defaults = Dictionary(
    allCases.map { ($0.path, "\($0.standard)") }, uniquingKeysWith: { first, _ in first })
}

/// The settings as packets read them.
struct ConntrackSettings: BitwiseCopyable {
  private var values = InlineArray<24, Int32>(repeating: 0)

  init() { for setting in ConntrackSetting.allCases { self[setting] = setting.standard } }

  @inline(__always) subscript(setting: ConntrackSetting) -> Int32 {
    get { values[setting.rawValue] }
    set { values[setting.rawValue] = newValue }
  }

  @inline(__always) func isOn(_ setting: ConntrackSetting) -> Bool { self[setting] != 0 }

  /// A setting in seconds, in nanoseconds.
  @inline(__always) func time(_ setting: ConntrackSetting) -> Int64 { Int64(self[setting]) &* 1_000_000_000 }

  /// How long TCP's states last.
  func time(of state: TCPTrackerState) -> Int64 {
    switch state {
    case .none, .synSent, .synSent2, .ignore, .invalid: time(.synSent)
    case .synReceived: time(.synReceived)
    case .established: time(.established)
    case .finWait: time(.finWait)
    case .closeWait: time(.closeWait)
    case .lastAck: time(.lastAck)
    case .timeWait: time(.timeWait)
    case .close: time(.close)
    }
  }

  /// Takes the times of a rule's object instead (nf_ct_timeout_lookup).
  mutating func take(_ times: NftCtTimeout) {
    let names: [ConntrackSetting] =
      times.transport == 6
      ? [
        .synSent, .synReceived, .established, .finWait, .closeWait, .lastAck, .timeWait, .close, .synSent,
        .retransmission, .unacknowledged,
      ] : [.udp, .udpStream]
    // Of a simultaneous opening the state has its own time there, and the usual one's here.
    for (name, seconds) in zip(names, times.seconds).reversed() { self[name] = Int32(clamping: seconds) }
  }

  /// What every packet asks for, so that not all settings are copied for it.
  struct Usual: BitwiseCopyable {
    var verifies: Bool
    var counts: Bool
    var maximum: Int
    /// Nanoseconds.
    var udp: Int64
    var udpStream: Int64
    var icmp: Int64
    var icmpv6: Int64
    var generic: Int64
    var flowtableTCP: Int64
    var flowtableUDP: Int64
  }

  var usual: Usual {
    Usual(
      verifies: isOn(.checksum), counts: isOn(.accounting), maximum: Int(self[.maximum]), udp: time(.udp),
      udpStream: time(.udpStream), icmp: time(.icmp), icmpv6: time(.icmpv6), generic: time(.generic),
      flowtableTCP: time(.flowtableTCP), flowtableUDP: time(.flowtableUDP))
  }
}
