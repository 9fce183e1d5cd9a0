// SPDX-License-Identifier: GPL-2.0-or-later

// The sockets of a namespace of the host's kernel, as every datapath reports them.

import CLinux
import Glibc
import LabCore
import LinuxObjects
import NetTypes
import Netlink

extension HostChannel {
  func socketReports(_ inspector: Inspector<HostChannel>) throws(TransportError) -> [SocketReport] {
    var reports: [SocketReport] = []
    let protocols: [(SocketReport.Kind, Int)] = [
      (.udp, IPPROTO_UDP), (.tcp, IPPROTO_TCP), (.raw, IPPROTO_RAW),
    ]
    for (kind, number) in protocols {
      for family in [IPFamily.ipv4, .ipv6] {
        let found = try sockets(family, protocol: UInt8(truncatingIfNeeded: number))
        reports += found.map { SocketReport($0, kind, inspector) }
      }
    }
    return reports
  }
}

extension SocketReport {
  fileprivate init(_ socket: SocketDiagnosis, _ kind: Kind, _ inspector: Inspector<HostChannel>) {
    let link = socket.link == 0 ? nil : inspector.name(socket.link)
    self.init(
      kind: kind, state: Self.word(forState: socket.state) ?? "UNKNOWN",
      receiveQueue: socket.receiveQueue, sendQueue: socket.sendQueue,
      local: Name(socket.local.address, socket.local.port, link: link),
      peer: Name(socket.peer.address, socket.peer.port), user: socket.user, isV6Only: socket.isV6Only)
    let timers: [UInt8: String] = [1: "on", 2: "keepalive", 3: "timewait", 4: "persist"]
    timer = timers[socket.timer].map {
      Timer(name: $0, expires: socket.expires, retransmits: UInt32(socket.retransmits))
    }
    // SK_MEMINFO_*.
    if socket.memory.count >= 9 {
      memory = Memory(
        received: socket.memory[0], receiveLimit: socket.memory[1], sent: socket.memory[2],
        sendLimit: socket.memory[3], reserved: socket.memory[4], queued: socket.memory[5],
        options: socket.memory[6], backlog: socket.memory[7], drops: socket.memory[8])
    }
    if kind == .tcp, !socket.information.isEmpty {
      tcp = TCPReport(socket.information, congestionControl: socket.congestionControl)
    }
  }
}

extension TCPReport {
  fileprivate init(_ bytes: [UInt8], congestionControl: String?) {
    self.init()
    var info = nf_tcp_info()
    bytes.withUnsafeBytes { nf_read_tcp_info($0.baseAddress, $0.count, &info) }
    self.congestionControl = congestionControl
    options = [
      (info.has_timestamps, "ts"), (info.has_sack, "sack"), (info.has_ecn, "ecn"),
      (info.has_seen_ecn, "ecnseen"),
    ].filter { $0.0 != 0 }.map(\.1)
    windowScale = info.has_window_scale != 0 ? [info.send_scale, info.receive_scale] : nil
    retransmissionTimeout = info.retransmission_timeout
    backoff = info.backoff
    roundTripTime = info.smoothed_rtt
    roundTripVariance = info.rtt_variance
    // ~0: there was no sample (minmax_reset).
    minimumRoundTripTime = info.minimum_rtt == .max ? 0 : info.minimum_rtt
    ackTimeout = info.ack_timeout
    mss = info.mss
    pathMTU = info.path_mtu
    receiveMSS = info.receive_mss
    advertisedMSS = info.advertised_mss
    congestionWindow = info.congestion_window
    // TCP_INFINITE_SSTHRESH
    slowStartThreshold = info.slow_start_threshold < 0x7fff_ffff ? info.slow_start_threshold : nil
    bytesSent = info.bytes_sent
    bytesRetransmitted = info.bytes_retransmitted
    bytesAcknowledged = info.bytes_acknowledged
    bytesReceived = info.bytes_received
    segmentsSent = info.segments_sent
    segmentsReceived = info.segments_received
    dataSegmentsSent = info.data_segments_sent
    dataSegmentsReceived = info.data_segments_received
    lastSent = info.last_sent_ms
    lastReceived = info.last_received_ms
    lastAcknowledged = info.last_ack_ms
    pacingRate = info.pacing_rate == .max ? 0 : info.pacing_rate
    deliveryRate = info.delivery_rate
    delivered = info.delivered
    isApplicationLimited = info.is_application_limited != 0
    busyTime = info.busy_time
    windowLimitedTime = info.window_limited_time
    bufferLimitedTime = info.buffer_limited_time
    unacknowledged = info.unacknowledged
    retransmitted = info.retransmitted
    totalRetransmissions = info.total_retransmissions
    lost = info.lost
    sacked = info.sacked
    duplicateSACKs = info.dsack_duplicates
    reordering = info.reordering
    receiveRoundTripTime = info.receive_rtt
    receiveSpace = info.receive_space
    receiveSlowStartThreshold = info.receive_slow_start_threshold
    notSent = info.not_sent_bytes
    sendWindow = info.send_window
  }
}
