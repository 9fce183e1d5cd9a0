// SPDX-License-Identifier: GPL-2.0-or-later

// What came back of a packet, or where that ended; and the end of it all in one line.

import Capture
import LabCore
import NetTypes

extension TraceStory {
  // MARK: The answer

  /// Tells where what answers the packet comes by, until it is back, and where it ended when it is not.
  mutating func tellAnswer() {
    var last: (link: LinkReference, direction: CapturedPacket.Direction, flow: PacketFlow)?
    var complaint: String?
    for sighting in report.sightings where answer == nil {
      let link = request.points[sighting.point].link
      guard let flow = PacketFlow(sighting.bytes, request.points[sighting.point].linkType),
        let kind = request.probe.answer(in: flow)
      else { continue }
      let way = sighting.direction == .received ? "comes in" : "goes out"
      add(points.name(of: link), .answer, "\(kind) \(flow.from) > \(flow.to) \(way)", at: sighting.time)
      if request.probe.isError(flow), isForTarget(flow) {
        complaint = complaint ?? "\(flow.from) says '\(kind)'"
        continue
      }
      last = (link, sighting.direction, flow)
      guard link.namespace == .node(request.node), sighting.direction == .received else { continue }
      answer = Answer(
        kind: kind, from: flow.from,
        after: Interval(nanoseconds: Int64(clamping: sighting.time - min(sighting.time, begin))))
    }
    if answer?.kind == Self.tooBig { openEnd?.isTooLong = true }
    guard let target, answer == nil else { return }
    guard let last else {
      openEnd = OpenEnd(namespace: target.namespace, address: target.flow.source, isAnswer: true)
      cause = complaint.map { "its answer did not leave: \($0)" }
      return
    }
    cause = "its answer was last seen at \(points.name(of: last.link))"
    guard last.direction == .received, let node = last.link.namespace.node else { return }
    if let reason = answerReason(in: last.link.namespace) ?? complaint {
      cause = "its answer ended at \(node): \(reason)"
    }
    openEnd = OpenEnd(namespace: last.link.namespace, address: last.flow.destination, isAnswer: true)
  }

  private static let tooBig = "\(ICMPError(type: 3, code: 4, family: .ipv4))"

  /// Whether an error is for whom the packet was delivered to: then it is about the answer.
  private func isForTarget(_ flow: PacketFlow) -> Bool {
    guard let target, target.namespace != .node(request.node) else { return false }
    return resolution.state[target.namespace]?.addresses.contains { $0.prefix.address == flow.destination }
      ?? false
  }

  private func answerReason(in namespace: NamespaceID) -> String? {
    for note in report.notes where note.namespace == namespace {
      if case .answerDropped(let reason) = note.kind, reason != Self.elsewhere { return reason }
    }
    return report.drops.last { $0 != Self.elsewhere }
  }

  /// What the lab says of an open end.
  mutating func close(_ end: OpenEnd, _ found: Missing) {
    guard end.isAnswer else {
      cause = found.words + (found.isMisled ? misled.map { "; \($0)" } ?? "" : "")
      return
    }
    let isAtTarget = end.namespace == target?.namespace
    let place = end.namespace.node?.text ?? "\(end.namespace)"
    cause = (isAtTarget ? "its answer did not leave: " : "its answer ended at \(place): ") + found.words
  }

  // MARK: The end

  /// How it ended, and why as far as that is known, in one line.
  public var end: String {
    switch verdict {
    case .delivered(let place):
      let back =
        answer.map { "answered by \($0.from) after \($0.after.brief): \($0.kind)" } ?? cause
        ?? "nothing came back"
      return "delivered to \(place), " + [absence, back].compactMap { $0 }.joined(separator: "; ")
        + [passage, remark].compactMap { $0.map { "; \($0)" } }.joined()
    case .dropped(let place, let reason):
      let why = cause.map { isKernelReason(reason) ? "\($0) (\(reason))" : $0 }
      let says = answer.map { "; \($0.from) answers '\($0.kind)'" } ?? ""
      return "dropped at \(place): \(why ?? reason)\(says)"
    }
  }

  /// Whether a reason says more than the cause beside it does.
  private func isKernelReason(_ reason: String) -> Bool { reason != Self.byRules && reason == kernelReason }

  /// Why it was dropped, by the kernel's name; nil where the kernel does not tell.
  var kernelReason: String? {
    guard case .dropped(_, let reason) = verdict else { return nil }
    if isByRule { return Self.byRules }
    let isNamed =
      report.drops.contains(reason)
      || report.notes.contains { if case .dropped(reason) = $0.kind { true } else { false } }
    return isNamed ? reason : nil
  }

  /// The node where it was dropped; nil when it was not, or in a bridge.
  var dropNode: NodeName? {
    guard case .dropped(let place, _) = verdict else { return nil }
    return place.split(separator: ":").first.flatMap { NodeName(String($0)) }
  }
}
