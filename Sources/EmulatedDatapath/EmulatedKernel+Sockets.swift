// SPDX-License-Identifier: GPL-2.0-or-later

// The sockets of a namespace of the emulated kernel, as every datapath reports them.

import LabCore
import LinuxObjects
import NetStack
import NetTypes

extension EmulatedKernel {
  /// UDP, TCP and raw sockets, IPv4 before IPv6, as the host's kernel is asked for them; what waits in SYN queues is among
  /// TCP's.
  func socketReports(
    of namespace: NamespaceID, _ inspector: Inspector<EmulatedChannel>
  ) throws(TransportError) -> [SocketReport] {
    let node = try index(of: namespace)
    var reports = stack.sockets(in: node).compactMap { socket in
      var report = SocketReport(socket, inspector)
      report?.tcp = stack.information(of: socket.socket).map { TCPReport($0) }
      return report.map { (order: Self.order(of: socket.kind), report: $0) }
    }
    for request in stack.connectionRequests(in: node) {
      let order = Self.order(of: .tcp(request.local.address.family))
      reports.append((order: order, report: SocketReport(request, inspector)))
    }
    return (0..<6).flatMap { order in reports.filter { $0.order == order }.map(\.report) }
  }

  private static func order(of kind: SocketKind) -> Int {
    switch kind {
    case .udp(let family): family == .ipv4 ? 0 : 1
    case .tcp(let family): family == .ipv4 ? 2 : 3
    case .raw(let family, _): family == .ipv4 ? 4 : 5
    case .ping, .packet: 6
    }
  }
}

extension SocketReport {
  /// Nil for kinds that a list of these protocols does not have.
  fileprivate init?(_ socket: SocketSummary, _ inspector: Inspector<EmulatedChannel>) {
    let kind: Kind
    let family: IPFamily
    switch socket.kind {
    case .udp(let version): (kind, family) = (.udp, version)
    case .tcp(let version): (kind, family) = (.tcp, version)
    case .raw(let version, _): (kind, family) = (.raw, version)
    case .ping, .packet: return nil
    }
    let device = socket.options.device != 0 ? socket.options.device : socket.local.scope
    let state = socket.state?.rawValue ?? (socket.peer == nil ? TCPState.close : .established).rawValue
    self.init(
      kind: kind, state: Self.word(forState: state) ?? "UNKNOWN",
      receiveQueue: UInt32(clamping: socket.receiveQueue), sendQueue: UInt32(clamping: socket.sendQueue),
      local: Name(
        socket.local.address, socket.local.port, link: device == 0 ? nil : inspector.name(device)),
      peer: Name(socket.peer?.address ?? .any(family), socket.peer?.port ?? 0), user: socket.user,
      isV6Only: socket.options.isV6Only, timer: socket.timer.map { Timer($0) },
      memory: Memory(
        received: UInt32(clamping: socket.receiveMemory),
        receiveLimit: UInt32(clamping: socket.options.receiveBuffer),
        sent: UInt32(clamping: socket.sendMemory), sendLimit: UInt32(clamping: socket.options.sendBuffer),
        // A listener's is its backlog.
        queued: state == TCPState.listen.rawValue ? 0 : UInt32(clamping: socket.sendQueue),
        drops: UInt32(clamping: socket.drops)))
  }

  /// Of a SYN queue.
  fileprivate init(_ request: ConnectionRequest, _ inspector: Inspector<EmulatedChannel>) {
    func name(_ address: SocketAddress) -> Name {
      Name(
        address.address, address.port, link: address.scope == 0 ? nil : inspector.name(address.scope))
    }
    self.init(
      kind: .tcp, state: Self.word(forState: TCPState.synReceived.rawValue) ?? "UNKNOWN", receiveQueue: 0,
      sendQueue: 0, local: name(request.local), peer: name(request.peer), user: 0,
      timer: request.timer.map { Timer($0) })
  }
}

extension SocketReport.Timer {
  fileprivate init(_ timer: SocketTimer) {
    let name =
      switch timer.purpose {
      case .retransmission: "on"
      case .windowProbe: "persist"
      case .keepalive: "keepalive"
      case .timeWait: "timewait"
      }
    self.init(
      name: name, expires: UInt32(clamping: timer.expires.nanoseconds / 1_000_000),
      retransmits: UInt32(clamping: timer.retransmits))
  }
}

extension TCPReport {
  fileprivate init(_ info: TCPInformation) {
    self.init()
    options = [
      (info.hasTimestamps, "ts"), (info.hasSACK, "sack"), (info.hasECN, "ecn"), (info.hasSeenECN, "ecnseen"),
    ].filter(\.0).map(\.1)
    congestionControl = info.congestionControl.name
    windowScale = info.hasWindowScale ? [info.sendScale, info.receiveScale] : nil
    retransmissionTimeout = UInt32(clamping: info.timeout)
    backoff = UInt32(clamping: info.backoff)
    roundTripTime = UInt32(clamping: info.roundTripTime)
    roundTripVariance = UInt32(clamping: info.roundTripVariance)
    let minimum = UInt32(clamping: info.minimumRoundTripTime)
    minimumRoundTripTime = minimum == .max ? 0 : minimum
    ackTimeout = UInt32(clamping: info.acknowledgmentTimeout)
    mss = UInt32(clamping: info.sendMSS)
    receiveMSS = UInt32(clamping: info.receiveMSS)
    advertisedMSS = UInt32(clamping: info.advertisedMSS)
    congestionWindow = UInt32(clamping: info.congestionWindow)
    slowStartThreshold =
      info.slowStartThreshold < 0x7fff_ffff ? UInt32(clamping: info.slowStartThreshold) : nil
    bytesSent = info.bytesSent
    bytesRetransmitted = info.bytesRetransmitted
    bytesAcknowledged = info.bytesAcknowledged
    bytesReceived = info.bytesReceived
    segmentsSent = UInt32(clamping: info.segmentsOut)
    segmentsReceived = UInt32(clamping: info.segmentsIn)
    dataSegmentsSent = UInt32(clamping: info.dataSegmentsOut)
    dataSegmentsReceived = UInt32(clamping: info.dataSegmentsIn)
    lastSent = UInt32(clamping: info.lastDataSent)
    lastReceived = UInt32(clamping: info.lastDataReceived)
    lastAcknowledged = UInt32(clamping: info.lastACKReceived)
    pacingRate = info.pacingRate == .max ? 0 : info.pacingRate
    deliveryRate = info.deliveryRate
    delivered = UInt32(clamping: info.delivered)
    isApplicationLimited = info.isApplicationLimited
    busyTime = UInt64(clamping: info.busyTime)
    windowLimitedTime = UInt64(clamping: info.windowLimitedTime)
    bufferLimitedTime = UInt64(clamping: info.bufferLimitedTime)
    unacknowledged = UInt32(clamping: info.unacknowledged)
    retransmitted = UInt32(clamping: info.retransmitted)
    totalRetransmissions = UInt32(clamping: info.totalRetransmits)
    lost = UInt32(clamping: info.lost)
    sacked = UInt32(clamping: info.sacked)
    duplicateSACKs = UInt32(clamping: info.duplicateSegments)
    reordering = UInt32(clamping: info.reordering)
    receiveRoundTripTime = UInt32(clamping: info.receiveRoundTripTime)
    receiveSpace = UInt32(clamping: info.receiveSpace)
    receiveSlowStartThreshold = UInt32(clamping: info.receiveThreshold)
    notSent = UInt32(clamping: info.unsentBytes)
    sendWindow = UInt32(clamping: info.sendWindow)
  }
}
