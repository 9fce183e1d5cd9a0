// SPDX-License-Identifier: GPL-2.0-or-later

// netem's settings by message (net/sched/sch_netem.c, netem_change and netem_dump). What a message leaves out stays as it
// was, but for the model of loss.

import Rtnetlink

extension Netem {
  mutating func change(_ options: NetemOptions, now: Int64) {
    if !options.distribution.isEmpty { distribution = options.distribution }
    if !options.slotDistribution.isEmpty { slotDistribution = options.slotDistribution }
    latency = options.latency
    jitter = min(options.jitter, Int64(Int32.max))
    loss = options.loss
    duplicate = options.duplicate
    gap = options.gap
    sinceReorder = 0
    switch options.lossModel {
    case nil: break
    case .state: lossState = .sentInGap
    case .gilbertElliott: lossState = .good
    }
    lossModel = options.lossModel
    if let seed = options.seed {
      self.seed = seed
      chance = TausworthePRNG(seed: seed)
      otherChance = RandomState(seed: seed)
    }
    // Tools older than the probability say only every how many.
    if gap != 0 { reorder = .max }
    if !options.omitted.contains(.correlations) {
      delayChance = remember(options.delayCorrelation)
      lossChance = remember(options.lossCorrelation)
      duplicateChance = remember(options.duplicateCorrelation)
    }
    if !options.omitted.contains(.reorder) {
      reorder = options.reorder
      reorderChance = remember(options.reorderCorrelation)
    }
    if !options.omitted.contains(.corrupt) {
      corrupt = options.corrupt
      corruptChance = remember(options.corruptCorrelation)
    }
    if let rate = options.rate { self.rate = rate }
    if let marks = options.explicitCongestion { explicitCongestion = marks }
    if let slot = options.slot { setSlot(slot, now: now) }
  }

  /// init_crandom: where a correlation begins is not the seed's choice in the kernel.
  private mutating func remember(_ correlation: UInt32) -> CorrelatedChance {
    CorrelatedChance(correlation: correlation, last: UInt32(truncatingIfNeeded: otherChance.next()))
  }

  var settings: NetemOptions {
    var options = NetemOptions()
    options.latency = latency
    options.jitter = jitter
    options.loss = loss
    options.gap = gap
    options.duplicate = duplicate
    options.delayCorrelation = delayChance.correlation
    options.lossCorrelation = lossChance.correlation
    options.duplicateCorrelation = duplicateChance.correlation
    options.reorder = reorder
    options.reorderCorrelation = reorderChance.correlation
    options.corrupt = corrupt
    options.corruptCorrelation = corruptChance.correlation
    options.rate = rate
    options.lossModel = lossModel
    if explicitCongestion { options.explicitCongestion = true }
    if hasSlots { options.slot = slot }
    options.seed = seed
    return options
  }
}
