// SPDX-License-Identifier: GPL-2.0-or-later

// A socket to nf_tables in one namespace: transactions, dry runs, dumps. It belongs to the namespace in which
// it was opened, whoever uses it.

import CMnl
import CNftnl
import Glibc
public import Nftables
import Rtnetlink
import Synchronization
public import SystemPackage

/// Sees each step before a transaction is sent, with the label of the socket's namespace, and may refuse it
/// in the kernel's place. For tests that make any step of an operation fail.
public typealias NftablesInterposer = @Sendable (NftChange, String) -> Errno?

/// nf_tables of one network namespace.
public final class NftablesSocket: Sendable {
  /// What errors call the namespace.
  public let label: String
  private let interposer: NftablesInterposer?
  private let connection: Mutex<NftablesConnection>

  /// Opens a socket in the calling thread's network namespace.
  public init(label: String, interposer: NftablesInterposer? = nil) throws(NftablesError) {
    self.label = label
    self.interposer = interposer
    connection = Mutex(try NftablesConnection(label: label))
  }

  /// Makes all the changes at once, or none.
  ///
  /// - Parameter generation: The generation of the observation that the changes were planned on. If the ruleset is
  ///   no longer that one nothing is done and the error's code is `.changed`. Nil leaves that out.
  public func apply(_ changes: [NftChange], expecting generation: UInt32? = nil) throws(NftablesError) {
    try transact(changes, generation, commits: true)
  }

  /// Lets the kernel check the changes, all of them together, and makes none.
  public func check(_ changes: [NftChange]) throws(NftablesError) {
    try transact(changes, nil, commits: false)
  }

  /// The tables of the namespace, or one of them, with the handles of their rules; all of one generation.
  public func observe(only table: NftTableKey? = nil) throws(NftablesError) -> NftObservation {
    try connection.withLock { (connection) throws(NftablesError) in
      for _ in 0..<NftablesConnection.attempts {
        var dump = NftablesDump(only: table)
        if let observation = try dump.run(&connection) { return observation }
      }
      throw NftablesError(
        .interrupted, "reading nftables in namespace '\(label)'",
        text: "the ruleset kept changing while it was read")
    }
  }

  /// The ruleset's generation; every transaction raises it.
  public func generation() throws(NftablesError) -> UInt32 {
    try connection.withLock { (connection) throws(NftablesError) in try connection.generation() }
  }

  private func transact(_ changes: [NftChange], _ generation: UInt32?, commits: Bool) throws(NftablesError) {
    guard !changes.isEmpty else { return }
    let operation = "\(commits ? "changing" : "checking") nftables in namespace '\(label)'"
    if let interposer {
      for (index, change) in changes.enumerated() {
        guard let errno = interposer(change, label) else { continue }
        throw NftablesError(.refused, operation, failures: [.init(index, change, errno.rawValue, nil)])
      }
    }
    let batch: NftablesTransaction
    do throws(NftablesStepError) {
      batch = try NftablesTransaction(changes, generation: generation, commits: commits)
    } catch {
      throw NftablesError(
        .invalidStep, operation, text: "cannot \(changes[error.index]) (step \(error.index)): \(error.text)")
    }
    for _ in 0..<NftablesConnection.attempts {
      let answers = try connection.withLock { (connection) throws(NftablesError) in
        try connection.send(batch, operation)
      }
      var failures: [NftablesError.Failure] = []
      var restart = false
      for answer in answers {
        guard answer.errno != ERESTART else {
          restart = true
          continue
        }
        guard answer.errno != 0 else { continue }
        guard let message = batch.message(answer.sequence), let step = message.step,
          changes.indices.contains(step)
        else {
          // Not a step but the transaction as a whole: no right to make one, or a failure at its end.
          throw NftablesError(.refused, operation, errno: Errno(rawValue: answer.errno), text: answer.text)
        }
        failures.append(
          .init(
            step, changes[step], answer.errno,
            answer.attributeOffset.flatMap { batch.expression(at: $0, in: message.start, changes[step]) }))
      }
      guard restart else {
        guard failures.isEmpty else { throw NftablesError(.refused, operation, failures: failures) }
        return
      }
      if generation != nil {
        throw NftablesError(
          .changed, operation, text: "the ruleset has been changed by someone else meanwhile")
      }
    }
    throw NftablesError(.interrupted, operation, text: "the ruleset keeps being changed by others")
  }
}

extension NftablesError.Failure {
  init(_ index: Int, _ change: NftChange, _ number: Int32, _ expression: String?) {
    self.init(
      index: index, step: "\(change)", errno: Errno(rawValue: number),
      reason: Self.reason(number, for: change),
      expression: expression)
  }
}

extension NftablesTransaction {
  func message(_ sequence: UInt32) -> (step: Int?, start: Int)? {
    let index = Int(sequence) - Int(Self.firstSequence)
    return messages.indices.contains(index) ? messages[index] : nil
  }

  /// The expression of a rule that lies at an offset of the message.
  func expression(at offset: Int, in start: Int, _ change: NftChange) -> String? {
    guard let rule = change.rule else { return nil }
    // Header of netlink, header of nfnetlink, then attributes.
    guard
      let list = attribute(
        at: offset, from: start, offset: 20, limit: nil, type: NFTA_RULE_EXPRESSIONS.rawValue)
    else { return nil }
    var position = list.lowerBound + 4
    var index = 0
    while position + 4 <= list.upperBound, index < rule.expressions.count {
      let length = Int(bytes[start + position]) | Int(bytes[start + position + 1]) << 8
      guard length >= 4 else { return nil }
      if offset < position + length { return "\(rule.expressions[index])" }
      position += (length + 3) & ~3
      index += 1
    }
    return nil
  }

  /// The attribute of that type among those that begin at `offset`, if it spans `target`.
  private func attribute(at target: Int, from start: Int, offset: Int, limit: Int?, type: UInt32) -> Range<
    Int
  >? {
    let total = bytes.count - start
    guard total >= 4, offset < total else { return nil }
    let length = (0..<4).reduce(0) { $0 | Int(bytes[start + $1]) << (8 * $1) }
    var position = offset
    while position + 4 <= min(length, total) {
      let size = Int(bytes[start + position]) | Int(bytes[start + position + 1]) << 8
      let found = UInt32(bytes[start + position + 2]) | UInt32(bytes[start + position + 3] & 0x3f) << 8
      guard size >= 4, position + size <= total else { return nil }
      if found == type, position <= target, target < position + size { return position..<position + size }
      position += (size + 3) & ~3
    }
    return nil
  }
}

extension NamespaceVisitor {
  /// A socket to nf_tables of the namespace that the thread is in.
  public func nftables(interposer: NftablesInterposer? = nil) throws(NetlinkError) -> NftablesSocket {
    do throws(NftablesError) {
      return try NftablesSocket(label: label, interposer: interposer)
    } catch {
      throw NetlinkError(.system, error.operation, errno: error.errno, text: error.text)
    }
  }
}
