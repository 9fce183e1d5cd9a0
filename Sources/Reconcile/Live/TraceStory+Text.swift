// SPDX-License-Identifier: GPL-2.0-or-later

// A packet's way in lines, and what of two ways differs.

import LabCore

extension TraceStory.Step: CustomStringConvertible {
  /// In one line, without its time.
  public var description: String {
    "\(place) \(kind.rawValue): \(text)" + (location.map { " (\($0))" } ?? "")
  }
}

extension TraceStory {
  /// What of two stories of one packet differs, a line each: `-` what only this one has, `+` what only the other.
  public func difference(from other: TraceStory) -> [String] {
    let (mine, theirs) = (comparable, other.comparable)
    return theirs.difference(from: mine).map { change in
      switch change {
      case .insert(_, let line, _): "+ \(line)"
      case .remove(_, let line, _): "- \(line)"
      }
    }
  }

  /// The steps that every kernel tells, without times; why a packet was dropped only some do. Which of several equal ways
  /// it takes is each kernel's own choice: from there on only the end is compared, and of answers only that they come back.
  private var comparable: [String] {
    let hasEqualWays = resolution.state.namespaces.contains { $0.routes.contains { $0.nextHops.count > 1 } }
    let end = steps.firstIndex(where: \.isOneOfSeveral) ?? steps.endIndex
    let untold: Set<Step.Kind> =
      hasEqualWays ? [.neighbor, .ring, .napi, .answer] : [.neighbor, .ring, .napi]
    var lines = steps[..<end].filter { !untold.contains($0.kind) }.map { step in
      step.kind == .drop ? "\(step.place) drop" : "\(step.place) \(step.kind.rawValue) \(step.text)"
    }
    switch verdict {
    case .delivered(let place): lines.append("delivered to \(place)")
    case .dropped(let place, _): lines.append("dropped\(end == steps.endIndex ? " at \(place)" : "")")
    }
    if let answer { lines.append("answer \(answer.kind) from \(answer.from)") }
    return lines
  }
}
