// SPDX-License-Identifier: GPL-2.0-or-later

// The token bucket of `limit` (nft_limit.c): tokens are nanoseconds, a packet costs what its rate allows one to last.

import Nftables

/// A limit's numbers.
struct NftLimitParameters {
  /// What the rate's unit lasts, in nanoseconds.
  var unit: UInt64
  var rate: UInt64
  /// Tokens when the bucket is full.
  var maximum: UInt64
  /// Of one packet; of bytes it depends on how many.
  var cost: UInt64
  var countsBytes: Bool

  init(_ limit: NftLimit) {
    unit = limit.unitSeconds &* 1_000_000_000
    rate = max(limit.rate, 1)
    cost = unit / rate
    countsBytes = limit.countsBytes
    if limit.countsBytes {
      let wide = unit.multipliedFullWidth(by: rate &+ UInt64(limit.burst))
      maximum = wide.high < rate ? rate.dividingFullWidth(wide).quotient : .max
    } else {
      maximum = cost.multipliedReportingOverflow(by: UInt64(limit.burst == 0 ? 5 : limit.burst)).partialValue
    }
  }
}
