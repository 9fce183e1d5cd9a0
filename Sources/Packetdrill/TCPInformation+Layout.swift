// SPDX-License-Identifier: GPL-2.0-or-later

// struct tcp_info as Linux 6.18 has it. What NetStack does not know of is 0 (the path's MTU, fast open, accurate ECN).

import NetStack

extension TCPInformation {
  var layout: [UInt8] {
    var layout = Layout()
    func short(_ value: Int) -> UInt32 { UInt32(clamping: value) }
    func short(_ value: Int64) -> UInt32 { UInt32(clamping: value) }
    var options: UInt8 = 0
    for (bit, isSet) in [hasTimestamps, hasSACK, hasWindowScale, hasECN, hasSeenECN].enumerated() where isSet
    {
      options |= 1 << UInt8(bit)
    }
    let bytes: [UInt8] = [
      state.rawValue, phase.rawValue, UInt8(clamping: retransmits), UInt8(clamping: probes),
      UInt8(clamping: backoff), options, sendScale | receiveScale << 4, isApplicationLimited ? 1 : 0,
    ]
    for byte in bytes { layout.add(byte) }
    layout.add(short(timeout))
    layout.add(short(acknowledgmentTimeout))
    for value in [sendMSS, receiveMSS, unacknowledged, sacked, lost, retransmitted] {
      layout.add(short(value))
    }
    layout.add(UInt32(0))  // fackets
    layout.add(short(lastDataSent))
    layout.add(UInt32(0))  // last_ack_sent
    layout.add(short(lastDataReceived))
    layout.add(short(lastACKReceived))
    layout.add(UInt32(0))  // pmtu
    layout.add(short(receiveThreshold))
    layout.add(short(roundTripTime))
    layout.add(short(roundTripVariance))
    for value in [slowStartThreshold, congestionWindow, advertisedMSS, reordering] {
      layout.add(short(value))
    }
    layout.add(short(receiveRoundTripTime))
    layout.add(short(receiveSpace))
    layout.add(short(totalRetransmits))
    for value in [pacingRate, maximumPacingRate, bytesAcknowledged, bytesReceived] { layout.add(value) }
    for value in [segmentsOut, segmentsIn, unsentBytes] { layout.add(short(value)) }
    layout.add(short(minimumRoundTripTime))
    for value in [dataSegmentsIn, dataSegmentsOut] { layout.add(short(value)) }
    layout.add(deliveryRate)
    for value in [busyTime, windowLimitedTime, bufferLimitedTime] { layout.add(value) }
    for value in [delivered, deliveredCE] { layout.add(short(value)) }
    for value in [bytesSent, bytesRetransmitted] { layout.add(value) }
    for value in [duplicateSegments, reorderingSeen, outOfOrder, sendWindow, receiveWindow] {
      layout.add(short(value))
    }
    // rehash, the three of timeouts, received_ce, six counters of bytes and the modes of accurate ECN.
    for _ in 0..<11 { layout.add(UInt32(0)) }
    return layout.bytes
  }
}
