// SPDX-License-Identifier: GPL-2.0-or-later

// What a kernel says of one connection over time, as CSV for programs and as an SVG, complete in itself, for a document.

import LabCore
import NetTypes
import Reconcile
import TopologyModel

/// A connection at one time.
struct ConnectionSample: Encodable {
  /// Since the first sample.
  var seconds: Double
  /// Segments.
  var congestionWindow: UInt32
  /// Nil before the first loss.
  var slowStartThreshold: UInt32?
  var inFlight: UInt32
  var milliseconds: Double
  var variance: Double
  /// Bits a second.
  var deliveryRate: Double
  var retransmissions: UInt32
  var mss: UInt32

  init(_ report: TCPReport, after time: Interval) {
    seconds = Double(time.nanoseconds) / 1e9
    congestionWindow = report.congestionWindow
    slowStartThreshold = report.slowStartThreshold
    // tcp_packets_in_flight.
    let gone = report.sacked + report.lost
    inFlight = report.unacknowledged + report.retransmitted - min(gone, report.unacknowledged)
    milliseconds = Double(report.roundTripTime) / 1000
    variance = Double(report.roundTripVariance) / 1000
    deliveryRate = Double(report.deliveryRate) * 8
    retransmissions = report.totalRetransmissions
    mss = report.mss
  }
}

struct ConnectionPlot {
  var title: String
  var samples: [ConnectionSample]

  var csv: String {
    let heading =
      "seconds,cwnd_segments,ssthresh_segments,inflight_segments,rtt_ms,rttvar_ms,delivery_bits_per_second,retransmissions,mss"
    let lines = samples.map { sample in
      [
        Self.number(sample.seconds), "\(sample.congestionWindow)",
        sample.slowStartThreshold.map(String.init) ?? "",
        "\(sample.inFlight)", Self.number(sample.milliseconds), Self.number(sample.variance),
        Self.number(sample.deliveryRate), "\(sample.retransmissions)", "\(sample.mss)",
      ].joined(separator: ",")
    }
    return ([heading] + lines).joined(separator: "\n") + "\n"
  }

  // MARK: SVG

  /// One of the pictures below each other.
  private struct Panel: Sendable {
    var name: String
    var color: String
    var value: @Sendable (ConnectionSample) -> Double
    var words: @Sendable (Double) -> String
  }

  private static let panels = [
    Panel(name: "congestion window, segments", color: "#1f6feb") {
      Double($0.congestionWindow)
    } words: {
      number($0)
    },
    Panel(name: "in flight, segments", color: "#8250df") {
      Double($0.inFlight)
    } words: {
      number($0)
    },
    Panel(name: "round trip, ms", color: "#bc4c00") {
      $0.milliseconds
    } words: {
      number($0)
    },
    Panel(name: "delivery rate", color: "#1a7f37") {
      $0.deliveryRate
    } words: {
      Topology.Expectation.Claim.rate($0)
    },
  ]

  private static let (width, height, left, top) = (880.0, 150.0, 96.0, 56.0)
  private static let gap = 40.0

  var svg: String {
    let (width, height, left) = (Self.width, Self.height, Self.left)
    let total = Self.top + Double(Self.panels.count) * (height + Self.gap) + 24
    var lines = [
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(Int(width)) \(Int(total))\" width=\"\(Int(width))\" height=\"\(Int(total))\" font-family=\"system-ui, sans-serif\" font-size=\"12\">",
      "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>",
      "<text x=\"\(Int(left))\" y=\"24\" font-size=\"15\" font-weight=\"600\" fill=\"#1f2328\">\(Self.escaped(title))</text>",
    ]
    let end = max(samples.last?.seconds ?? 0, 0.001)
    for (index, panel) in Self.panels.enumerated() {
      lines += draw(panel, at: Self.top + Double(index) * (height + Self.gap), until: end)
    }
    lines.append("</svg>")
    return lines.joined(separator: "\n") + "\n"
  }

  private func draw(_ panel: Panel, at top: Double, until end: Double) -> [String] {
    let (width, height, left) = (Self.width - Self.left - 40, Self.height, Self.left)
    let most = max(samples.map(panel.value).max() ?? 0, 1e-9) * 1.05
    func x(_ time: Double) -> String { Self.number(left + time / end * width) }
    func y(_ value: Double) -> String { Self.number(top + height - value / most * height) }
    var lines = [
      "<text x=\"\(Int(left))\" y=\"\(Self.number(top - 6))\" fill=\"\(panel.color)\">\(panel.name)</text>",
      "<rect x=\"\(Int(left))\" y=\"\(Self.number(top))\" width=\"\(Int(width))\" height=\"\(Int(height))\" fill=\"#f6f8fa\" stroke=\"#d0d7de\"/>",
    ]
    for part in [0.0, 0.5, 1.0] {
      let value = most / 1.05 * part
      lines.append(
        "<text x=\"\(Int(left - 8))\" y=\"\(y(value))\" dy=\"4\" text-anchor=\"end\" fill=\"#59636e\">\(panel.words(value))</text>"
      )
      let time = end * part
      lines.append(
        "<text x=\"\(x(time))\" y=\"\(Self.number(top + height + 15))\" text-anchor=\"middle\" fill=\"#59636e\">\(Self.number(time)) s</text>"
      )
    }
    let points = samples.map { "\(x($0.seconds)),\(y(panel.value($0)))" }.joined(separator: " ")
    lines.append(
      "<polyline points=\"\(points)\" fill=\"none\" stroke=\"\(panel.color)\" stroke-width=\"1.5\" stroke-linejoin=\"round\"/>"
    )
    return lines
  }

  /// At most three digits behind the point.
  private static func number(_ value: Double) -> String {
    let rounded = (value * 1000).rounded() / 1000
    return rounded == rounded.rounded() && rounded.magnitude < 1e15 ? "\(Int64(rounded))" : "\(rounded)"
  }

  private static func escaped(_ text: String) -> String {
    text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
  }
}
