// SPDX-License-Identifier: GPL-2.0-or-later

// One step of a rule: what the kernel's nf_tables machine runs. A case an expression kind; what this library
// does not read is kept as its name, so that it shows as a difference and not as nothing.

/// An expression of a rule.
public enum NftExpression: Hashable, Codable, Sendable {
  case payload(NftPayload)
  case payloadWrite(NftPayloadWrite)
  case meta(NftMeta)
  case metaSet(NftMetaSet)
  case ct(NftCt)
  case ctSet(NftCtSet)
  case cmp(NftCmp)
  case range(NftRange)
  case bitwise(NftBitwise)
  case byteorder(NftByteorder)
  case lookup(NftLookup)
  case immediate(NftImmediate)
  case nat(NftNAT)
  case masquerade(NftMasquerade)
  case redirect(NftRedirect)
  case counter(NftCounter)
  case limit(NftLimit)
  case quota(NftQuota)
  case log(NftLog)
  case reject(NftReject)
  case dynset(NftDynset)
  case objectReference(NftObjectReference)
  case numgen(NftNumgen)
  case hash(NftHash)
  case fib(NftFib)
  case rt(NftRt)
  case exthdr(NftExthdr)
  case exthdrWrite(NftExthdrWrite)
  case socket(NftSocket)
  case tproxy(NftTproxy)
  case dup(NftDup)
  case fwd(NftFwd)
  case connlimit(NftConnlimit)
  case synproxy(NftSynproxy)
  case notrack
  /// Puts the packet's connection into the flowtable of that name.
  case flowOffload(String)
  /// An expression that this library does not read, by the kernel's name.
  case unknown(String)
}

extension NftExpression {
  /// Without counts, and with the kernel's own defaults spelt one way.
  public var normalized: NftExpression {
    switch self {
    case .counter: return .counter(NftCounter())
    case .quota(var quota):
      quota.consumed = 0
      return .quota(quota)
    case .limit(let limit): return .limit(limit.normalized)
    case .log(let log): return .log(log.normalized)
    case .reject(let reject): return .reject(reject.normalized)
    case .lookup(var lookup):
      lookup.set = lookup.set.normalized
      return .lookup(lookup)
    case .objectReference(var reference):
      if case .map(let set, let source) = reference.target {
        reference.target = .map(set.normalized, source: source)
      }
      return .objectReference(reference)
    case .dynset(var dynset):
      dynset.expressions = dynset.expressions.map(\.normalized)
      return .dynset(dynset)
    case .nat(var nat):
      if nat.addressMax == nat.addressMin { nat.addressMax = nil }
      if nat.portMax == nat.portMin { nat.portMax = nil }
      nat.flags = nat.flags.chosen
      return .nat(nat)
    case .masquerade(var masquerade):
      if masquerade.portMax == masquerade.portMin { masquerade.portMax = nil }
      masquerade.flags = masquerade.flags.chosen
      return .masquerade(masquerade)
    case .redirect(var redirect):
      if redirect.portMax == redirect.portMin { redirect.portMax = nil }
      redirect.flags = redirect.flags.chosen
      return .redirect(redirect)
    default: return self
    }
  }

  /// Decides about the packet.
  public static func verdict(_ verdict: NftVerdict) -> NftExpression { .immediate(.verdict(verdict)) }
}

extension NftSetReference {
  var normalized: NftSetReference {
    guard case .anonymous(let set) = self else { return self }
    return .anonymous(set.normalized)
  }
}
