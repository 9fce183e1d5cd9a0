// SPDX-License-Identifier: GPL-2.0-or-later

// nftables from outside: transactions in, tables with their counts out. The program that packets run is made anew with
// each transaction; what is unchanged keeps its state.

public import Nftables

extension Kernel {
  /// Carries out the steps as one transaction; or only asks whether it could be.
  public mutating func commit(
    _ changes: [NftChange], dryRun: Bool = false, in namespace: NamespaceIndex
  ) throws(NftTransactionError) {
    guard namespaces.contains(namespace) else {
      throw NftTransactionError(index: nil, error: .noSuchDevice)
    }
    if !dryRun { forgetExpired(in: namespace) }
    let ruleset = try namespaces[namespace].nftables.ruleset.applying(changes)
    try namespaces[namespace].nftables.install(
      ruleset, seed: UInt32(truncatingIfNeeded: cpu.random.next()), now: cpu.now,
      groups: options.groupsRules, dryRun: dryRun)
    guard !dryRun else { return }
    tearDownStrayFlows(in: namespace)
    if namespaces[namespace].nftables.asksForCounts {
      // It stays so when the rule goes, as in Linux (nf_ct_set_acct).
      try? setSysctl(ConntrackSetting.accounting.path, to: "1", in: namespace)
    }
  }

  /// The tables that `wanted` names (nil: all), with the counts of now.
  public mutating func nftables(_ wanted: [NftTableKey]?, in namespace: NamespaceIndex) -> NftObservation {
    guard namespaces.contains(namespace) else { return NftObservation() }
    forgetExpired(in: namespace)
    return namespaces[namespace].nftables.observation(wanted, now: cpu.now)
  }

  /// Elements of the configuration that have died of age are not there for it either.
  private mutating func forgetExpired(in namespace: NamespaceIndex) {
    namespaces[namespace].nftables.forgetExpired(now: cpu.now)
  }
}
