// SPDX-License-Identifier: GPL-2.0-or-later

public import LabCore

/// Why a lab could not be made as desired.
public enum ReconcileError: Error, Sendable {
  /// The datapath cannot do this; nothing was changed.
  case limitations([Limitation], SourceMap)
  /// Objects of others stand in the way; nothing was changed.
  case foreign([ForeignObject], SourceMap)
  /// The user did not want a disruptive plan; nothing was changed.
  case declined(Plan)
  /// The datapath could not be asked; nothing was changed.
  case datapath(DatapathError)
  /// The lab's folder could not be read or written.
  case folder(LabFolderError)
  /// A change failed.
  case failed(ApplyFailure)
  /// Nobody waits for it any more; what was begun is in the journal.
  case abandoned(LabName)
}

/// A change that failed, and what became of the lab.
public struct ApplyFailure: Error, Sendable {
  /// What is there now.
  public enum Aftermath: Sendable {
    /// The lab is as it was before.
    case rolledBack
    /// The lab was not there before and is not there now; its folder holds nothing worth keeping.
    case removed
    /// These steps back are still to be done; the journal is kept.
    case leftBehind(Plan, DatapathError?)
    /// Going back could not even be tried; the journal is kept.
    case unknown(DatapathError)
  }

  /// The title of the batch, or `verify`.
  public var stage: String
  public var cause: DatapathError
  /// Where the object was declared.
  public var location: SourceLocation?
  public var aftermath: Aftermath
}

extension ReconcileError: CustomStringConvertible {
  /// The message, its first line what matters most.
  public var lines: [String] {
    switch self {
    case .limitations(let limitations, let sources):
      limitations.map { ($0.location.map { "\($0): " } ?? Self.located($0.path, sources)) + $0.description }
    case .foreign(let objects, let sources):
      objects.map {
        Self.located($0.path, sources)
          + "\($0.path) belongs to others: \($0.detail); remove or rename it, or rename the lab's"
      }
    case .declined(let plan):
      [
        "the plan for lab '\(plan.lab)' disrupts what runs in it (\(plan.summary)); nothing was changed; --yes carries it out"
      ]
    case .datapath(let error): [error.description]
    case .folder(let error): [error.description]
    case .failed(let failure): failure.lines
    case .abandoned(let lab):
      [
        "bringing lab '\(lab)' up was given up half-way; `netforge up` or `netforge down` takes it up from there"
      ]
    }
  }

  public var description: String { lines.joined(separator: "\n") }

  private static func located(_ path: StatePath?, _ sources: SourceMap) -> String {
    path.flatMap { sources.location(of: $0) }.map { "\($0): " } ?? ""
  }
}

extension ApplyFailure: CustomStringConvertible {
  public var lines: [String] {
    var first = location.map { "\($0): " } ?? ""
    first += cause.description
    if let path = cause.path { first += " [\(path)]" }
    var lines = [first]
    switch aftermath {
    case .rolledBack: lines.append("the lab is as it was before")
    case .removed: lines.append("nothing of the lab is left")
    case .leftBehind(let plan, let error):
      lines.append("the way back ended too: \(error.map(\.description) ?? "the state does not settle")")
      lines.append("still to be undone (\(plan.summary)):")
      lines += plan.text().split(separator: "\n").dropLast().map(String.init)
      lines.append("`netforge up` or `netforge down` takes it up from there")
    case .unknown(let error):
      lines.append("what is left could not be seen: \(error)")
      lines.append("`netforge up` or `netforge down` takes it up from there")
    }
    return lines
  }

  public var description: String { lines.joined(separator: "\n") }
}
