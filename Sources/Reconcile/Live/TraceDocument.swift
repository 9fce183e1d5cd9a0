// SPDX-License-Identifier: GPL-2.0-or-later

// A packet's way as JSON: of `netforge trace` and of what a test reports.

import LabCore
import NetTypes

/// A `TraceStory` to be written down.
public struct TraceDocument: Encodable, Sendable {
  public struct Step: Encodable, Sendable {
    public var place: String
    public var kind: String
    public var detail: String
    /// Since the packet was first seen at a device; nil where that is not told.
    public var nanoseconds: Int64?
    /// `topology.swift:23`.
    public var location: String?
    /// What a rule has written to registers, `reg 1 = 0x0016`; nil where there is none, or the kernel does not tell.
    public var registers: [String]?
  }

  public struct Answer: Encodable, Sendable {
    public var kind: String
    public var from: String
    public var nanoseconds: Int64
  }

  /// As it was sent.
  public var packet: String
  public var steps: [Step]
  public var delivered: Bool
  /// Where it was delivered, or dropped.
  public var place: String
  /// Why it was dropped: the kernel's name, or what was seen.
  public var reason: String?
  /// What made it end there, in words.
  public var cause: String?
  /// How it ended, in one line.
  public var end: String
  public var answer: Answer?
  /// What this kernel does not tell.
  public var untold: [String]

  public init(_ story: TraceStory) {
    packet = story.packet
    steps = story.steps.map {
      Step(
        place: $0.place, kind: $0.kind.rawValue, detail: $0.text, nanoseconds: $0.after?.nanoseconds,
        location: $0.location?.description,
        registers: $0.writes.isEmpty ? nil : $0.writes.map(\.description))
    }
    switch story.verdict {
    case .delivered(let place): (delivered, self.place) = (true, place)
    case .dropped(let place, let reason): (delivered, self.place, self.reason) = (false, place, reason)
    }
    cause = story.cause
    end = story.end
    answer = story.answer.map { Answer(kind: $0.kind, from: $0.from, nanoseconds: $0.after.nanoseconds) }
    untold = story.untold
  }
}
