// SPDX-License-Identifier: GPL-2.0-or-later

// A socket in the words of iproute2's `ss`, so that whoever reads one reads the other.

import LabCore
import NetTypes

extension SocketReport {
  func text(of name: Name) -> String { name.text(isV6Only: isV6Only) }
}

extension SocketReport.Name {
  /// `10.0.0.1:80`, `[fe80::1]%eth0:80`, `*:80` for both families, `0.0.0.0:*` for none.
  func text(isV6Only: Bool) -> String {
    let port = port == 0 ? "*" : "\(port)"
    let device = link.map { "%\($0)" } ?? ""
    switch address {
    case .v4(let address): return "\(address)\(device):\(port)"
    case .v6(let v6):
      if address.isUnspecified, !isV6Only { return "*\(device):\(port)" }
      return "[\(v6)]\(device):\(port)"
    }
  }
}

extension SocketReport.Timer {
  var text: String { "timer:(\(name),\(SocketWords.duration(milliseconds: expires)),\(retransmits))" }
}

extension SocketReport.Memory {
  var text: String {
    "skmem:(r\(received),rb\(receiveLimit),t\(sent),tb\(sendLimit),f\(reserved),w\(queued),o\(options),bl\(backlog),d\(drops))"
  }
}

extension TCPReport {
  /// One line. What is 0 and means nothing then is left out, as `ss` leaves it out.
  func text(isListening: Bool) -> String {
    var words = options
    func add(_ name: String, _ value: String, if isShown: Bool = true) {
      if isShown { words.append("\(name):\(value)") }
    }
    if let congestionControl { words.append(congestionControl) }
    if let windowScale { add("wscale", windowScale.map(String.init).joined(separator: ",")) }
    add("rto", SocketWords.milliseconds(retransmissionTimeout), if: retransmissionTimeout != 0)
    add("backoff", "\(backoff)", if: backoff != 0)
    add(
      "rtt",
      "\(SocketWords.milliseconds(roundTripTime))/\(SocketWords.milliseconds(roundTripVariance))",
      if: roundTripTime != 0)
    add("ato", SocketWords.milliseconds(ackTimeout), if: ackTimeout != 0)
    add("mss", "\(mss)", if: mss != 0)
    add("pmtu", "\(pathMTU)", if: pathMTU != 0)
    add("rcvmss", "\(receiveMSS)", if: receiveMSS != 0)
    add("advmss", "\(advertisedMSS)", if: advertisedMSS != 0)
    add("cwnd", "\(congestionWindow)", if: congestionWindow != 0)
    if let slowStartThreshold { add("ssthresh", "\(slowStartThreshold)") }
    add("bytes_sent", "\(bytesSent)", if: bytesSent != 0)
    add("bytes_retrans", "\(bytesRetransmitted)", if: bytesRetransmitted != 0)
    add("bytes_acked", "\(bytesAcknowledged)", if: bytesAcknowledged != 0)
    add("bytes_received", "\(bytesReceived)", if: bytesReceived != 0)
    add("segs_out", "\(segmentsSent)", if: segmentsSent != 0)
    add("segs_in", "\(segmentsReceived)", if: segmentsReceived != 0)
    add("data_segs_out", "\(dataSegmentsSent)", if: dataSegmentsSent != 0)
    add("data_segs_in", "\(dataSegmentsReceived)", if: dataSegmentsReceived != 0)
    if !isListening {
      if roundTripTime != 0, mss != 0, congestionWindow != 0 {
        let rate = Double(congestionWindow) * Double(mss) * 8e6 / Double(roundTripTime)
        words.append("send \(SocketWords.rate(rate))")
      }
      add("lastsnd", "\(lastSent)", if: lastSent != 0)
      add("lastrcv", "\(lastReceived)", if: lastReceived != 0)
      add("lastack", "\(lastAcknowledged)", if: lastAcknowledged != 0)
    }
    if pacingRate != 0 { words.append("pacing_rate \(SocketWords.rate(Double(pacingRate) * 8))") }
    if deliveryRate != 0 { words.append("delivery_rate \(SocketWords.rate(Double(deliveryRate) * 8))") }
    add("delivered", "\(delivered)", if: delivered != 0)
    if isApplicationLimited { words.append("app_limited") }
    add("busy", "\(busyTime / 1000)ms", if: busyTime != 0)
    add("rwnd_limited", "\(windowLimitedTime / 1000)ms", if: windowLimitedTime != 0)
    add("sndbuf_limited", "\(bufferLimitedTime / 1000)ms", if: bufferLimitedTime != 0)
    add("unacked", "\(unacknowledged)", if: unacknowledged != 0 && !isListening)
    add(
      "retrans", "\(retransmitted)/\(totalRetransmissions)",
      if: retransmitted != 0 || totalRetransmissions != 0)
    add("lost", "\(lost)", if: lost != 0)
    add("sacked", "\(sacked)", if: sacked != 0 && !isListening)
    add("dsack_dups", "\(duplicateSACKs)", if: duplicateSACKs != 0)
    add("reordering", "\(reordering)", if: reordering != 3 && reordering != 0)
    add("rcv_rtt", SocketWords.milliseconds(receiveRoundTripTime), if: receiveRoundTripTime != 0)
    add("rcv_space", "\(receiveSpace)", if: receiveSpace != 0)
    add("rcv_ssthresh", "\(receiveSlowStartThreshold)", if: receiveSlowStartThreshold != 0)
    add("notsent", "\(notSent)", if: notSent != 0)
    add("minrtt", SocketWords.milliseconds(minimumRoundTripTime), if: minimumRoundTripTime != 0)
    add("snd_wnd", "\(sendWindow)", if: sendWindow != 0)
    return words.joined(separator: " ")
  }
}

/// Numbers as `ss` writes them.
enum SocketWords {
  /// Microseconds as milliseconds with what is behind the point: `0.02`, `204`.
  static func milliseconds(_ microseconds: UInt32) -> String {
    let (whole, part) = microseconds.quotientAndRemainder(dividingBy: 1000)
    guard part != 0 else { return "\(whole)" }
    var digits = "\(part)"
    digits = String(repeating: "0", count: 3 - digits.count) + digits
    while digits.last == "0" { digits.removeLast() }
    return "\(whole).\(digits)"
  }

  /// `1min59sec`, `3.2sec`, `204ms`.
  static func duration(milliseconds: UInt32) -> String {
    let (minutes, rest) = milliseconds.quotientAndRemainder(dividingBy: 60_000)
    let (seconds, part) = rest.quotientAndRemainder(dividingBy: 1000)
    var text = minutes > 0 ? "\(minutes)min" : ""
    if minutes > 9 { return text }
    if seconds > 0 {
      text += seconds > 9 || minutes > 0 || part == 0 ? "\(seconds)sec" : "\(seconds).\(part / 100)sec"
    }
    return text.isEmpty || (minutes == 0 && seconds == 0) ? "\(part)ms" : text
  }

  /// Bits a second.
  static func rate(_ bits: Double) -> String {
    func digits(_ value: Double) -> String {
      let thousandths = Int64(value * 1000)
      let (whole, part) = thousandths.quotientAndRemainder(dividingBy: 1000)
      guard part != 0 else { return "\(whole)" }
      var text = String(repeating: "0", count: 3 - "\(part)".count) + "\(part)"
      while text.last == "0" { text.removeLast() }
      return "\(whole).\(text)"
    }
    for (unit, name) in [(1e12, "Tbps"), (1e9, "Gbps"), (1e6, "Mbps"), (1e3, "Kbps")] where bits >= unit {
      return digits(bits / unit) + name
    }
    return digits(bits) + "bps"
  }
}
