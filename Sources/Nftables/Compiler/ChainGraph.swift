// SPDX-License-Identifier: GPL-2.0-or-later

// What depends on how chains call each other: unknown targets, loops, depth, and expressions that may stand
// only where certain base chains lead. The kernel checks from base chains alone, so a loop that none reaches
// would pass there; here it does not.

/// The chains of a table and the jumps between them.
struct ChainGraph {
  let source: Ruleset.Table
  let chains: [NftChain]
  let sets: [NftSet]

  /// The most jumps in a row below a base chain.
  static let maximumDepth = 15

  func errors() -> [NftCompileError] {
    var errors = baseErrors() + targetErrors()
    guard errors.isEmpty else { return errors }
    errors += loopErrors()
    guard errors.isEmpty else { return errors }
    for chain in chains {
      guard let base = chain.base else { continue }
      var depths: [String: Int] = [:]
      measure(chain, 0, &depths)
      if let deepest = depths.max(by: { ($0.value, $1.key) < ($1.value, $0.key) }),
        deepest.value > Self.maximumDepth
      {
        errors.append(
          error(
            deepest.key, nil,
            "\(deepest.value) jumps deep below base chain '\(chain.name)'; the kernel allows \(Self.maximumDepth)"
          ))
      }
      for name in depths.keys.sorted() {
        guard let reached = chains.first(where: { $0.name == name }) else { continue }
        errors += placement(of: reached, below: chain.name, base)
      }
    }
    return Array(Set(errors)).sorted {
      ($0.position?.line ?? 0, $0.description) < ($1.position?.line ?? 0, $1.description)
    }
  }

  private func error(_ chain: String, _ rule: Int?, _ message: String) -> NftCompileError {
    let declared = source.chains.first { $0.name == chain }
    var position = declared?.position
    if let rule, let declared, declared.rules.indices.contains(rule) {
      position = declared.rules[rule].position ?? position
    }
    return NftCompileError(
      position: position,
      subject: "table \(source.family.rawValue) \(source.name), chain \(chain)"
        + (rule.map { ", rule \($0 + 1)" } ?? ""),
      message: message)
  }

  // MARK: Base chains

  private func baseErrors() -> [NftCompileError] {
    chains.compactMap { chain in
      guard let base = chain.base, let message = fault(in: base) else { return nil }
      return error(chain.name, nil, message)
    }
  }

  private func fault(in base: NftBaseChain) -> String? {
    let family = source.family
    guard base.hook.number(in: family) != nil else {
      return "the \(family.rawValue) family has no hook '\(base.hook.rawValue)'"
    }
    let needsDevice = base.hook == .ingress || base.hook == .egress
    guard needsDevice == !base.devices.isEmpty else {
      return needsDevice
        ? "an \(base.hook.rawValue) chain needs a device" : "only an ingress or egress chain has a device"
    }
    for device in base.devices where device.isEmpty || device.utf8.count > 15 {
      return "'\(device)' is not the name of a device"
    }
    switch base.type {
    case .filter: return nil
    case .nat:
      guard family == .ip || family == .ip6 || family == .inet else {
        return "the \(family.rawValue) family has no nat chains"
      }
      guard [.prerouting, .input, .output, .postrouting].contains(base.hook) else {
        return "a nat chain hooks at prerouting, input, output or postrouting, not at \(base.hook.rawValue)"
      }
      guard base.priority > -200 else {
        return "the priority of a nat chain must be above -200, where connection tracking stands"
      }
      return nil
    case .route:
      guard family == .ip || family == .ip6 || family == .inet else {
        return "the \(family.rawValue) family has no route chains"
      }
      return base.hook == .output ? nil : "a route chain hooks at output only, not at \(base.hook.rawValue)"
    }
  }

  // MARK: Jumps

  /// The verdicts with a target in a rule, those of its verdict maps included.
  private func targets(of rule: NftRule) -> [String] {
    rule.expressions.flatMap { expression -> [String] in
      switch expression {
      case .immediate(let immediate):
        guard case .verdict(let verdict) = immediate.value else { return [] }
        return verdict.target.map { [$0] } ?? []
      case .lookup(let lookup) where lookup.destination == .verdict:
        let set: NftSet? =
          switch lookup.set {
          case .anonymous(let set): set
          case .named(let name): sets.first { $0.name == name }
          }
        return (set?.elements ?? []).compactMap { element in
          guard case .verdict(let verdict)? = element.value else { return nil }
          return verdict.target
        }
      default: return []
      }
    }
  }

  private func targetErrors() -> [NftCompileError] {
    var errors: [NftCompileError] = []
    for chain in chains {
      for (index, rule) in chain.rules.enumerated() {
        for target in targets(of: rule) {
          guard let found = chains.first(where: { $0.name == target }) else {
            errors.append(error(chain.name, index, "there is no chain '\(target)' in the table"))
            continue
          }
          if found.base != nil {
            errors.append(error(chain.name, index, "a jump to '\(target)', which is a base chain"))
          }
        }
      }
    }
    for set in sets {
      for element in set.elements {
        guard case .verdict(let verdict)? = element.value, let target = verdict.target else { continue }
        let found = chains.first { $0.name == target }
        if found == nil || found?.base != nil {
          errors.append(
            NftCompileError(
              position: source.sets.first { $0.name == set.name }?.position,
              subject: "table \(source.family.rawValue) \(source.name), map \(set.name)",
              message: found == nil ? "there is no chain '\(target)'" : "a jump to base chain '\(target)'"))
        }
      }
    }
    return errors
  }

  private func loopErrors() -> [NftCompileError] {
    var done: Set<String> = []
    var errors: [NftCompileError] = []
    for chain in chains {
      var path: [String] = []
      follow(chain.name, &path, &done, &errors)
    }
    return errors
  }

  private func follow(
    _ name: String, _ path: inout [String], _ done: inout Set<String>, _ errors: inout [NftCompileError]
  ) {
    guard !done.contains(name), let chain = chains.first(where: { $0.name == name }) else { return }
    path.append(name)
    for (index, rule) in chain.rules.enumerated() {
      for target in targets(of: rule) {
        if let start = path.firstIndex(of: target) {
          let loop = (path[start...] + [target]).joined(separator: " -> ")
          errors.append(error(name, index, "jumps go round in a loop: \(loop)"))
        } else {
          follow(target, &path, &done, &errors)
        }
      }
    }
    path.removeLast()
    done.insert(name)
  }

  /// The most jumps from a base chain to each chain that it reaches.
  private func measure(_ chain: NftChain, _ depth: Int, _ depths: inout [String: Int]) {
    guard depths[chain.name, default: -1] < depth, depth <= Self.maximumDepth + 1 else { return }
    depths[chain.name] = depth
    for rule in chain.rules {
      for target in targets(of: rule) {
        guard let next = chains.first(where: { $0.name == target }) else { continue }
        measure(next, depth + 1, &depths)
      }
    }
  }

  // MARK: Expressions and hooks

  private func placement(of chain: NftChain, below name: String, _ base: NftBaseChain) -> [NftCompileError] {
    var errors: [NftCompileError] = []
    for (index, rule) in chain.rules.enumerated() {
      for expression in rule.expressions {
        guard let message = fault(of: expression, in: base) else { continue }
        let via = chain.name == name ? "" : " (reached from '\(name)')"
        errors.append(error(chain.name, index, message + via))
      }
    }
    return errors
  }

  private func fault(of expression: NftExpression, in base: NftBaseChain) -> String? {
    switch expression {
    case .nat(let nat):
      let word = nat.kind == .source ? "snat" : "dnat"
      let hooks: [NftHook] = nat.kind == .source ? [.postrouting, .input] : [.prerouting, .output]
      return natFault(word, hooks, base)
    case .masquerade: return natFault("masquerade", [.postrouting], base)
    case .redirect: return natFault("redirect", [.prerouting, .output], base)
    case .reject:
      let hooks: [NftHook] = [.prerouting, .input, .forward, .output, .ingress]
      return hooks.contains(base.hook) ? nil : "reject cannot stand at \(base.hook.rawValue)"
    case .flowOffload:
      return base.hook == .forward ? nil : "connections are put into flowtables at forward only"
    case .synproxy: return proxyFault(base)
    case .objectReference(let reference):
      guard case .named(NftObjectKind.synproxy.rawValue, _) = reference.target else { return nil }
      return proxyFault(base)
    // nft_meta_set_validate.
    case .metaSet(let set) where set.key == .packetType:
      let hook: NftHook = source.family == .netdev ? .ingress : .prerouting
      return base.hook == hook
        ? nil : "meta pkttype is set at \(hook.rawValue), not at \(base.hook.rawValue)"
    case .tproxy: return base.hook == .prerouting ? nil : "tproxy stands at prerouting only"
    case .socket:
      return [.prerouting, .input, .output].contains(base.hook)
        ? nil : "socket cannot be asked at \(base.hook.rawValue)"
    case .rt(let rt) where rt.key == .tcpMSS:
      return [.forward, .output, .postrouting].contains(base.hook)
        ? nil : "the route's MSS is known at forward, output and postrouting only"
    case .fib(let fib): return fibFault(fib, base)
    default: return nil
    }
  }

  private func proxyFault(_ base: NftBaseChain) -> String? {
    [.input, .forward].contains(base.hook)
      ? nil : "synproxy stands at input or forward, not at \(base.hook.rawValue)"
  }

  private func natFault(_ word: String, _ hooks: [NftHook], _ base: NftBaseChain) -> String? {
    guard base.type == .nat else { return "\(word) stands in chains of type nat, not \(base.type.rawValue)" }
    guard hooks.contains(base.hook) else {
      let allowed = hooks.map(\.rawValue).joined(separator: " or ")
      return "\(word) stands at \(allowed), not at \(base.hook.rawValue)"
    }
    return nil
  }

  private func fibFault(_ fib: NftFib, _ base: NftBaseChain) -> String? {
    let inward: [NftHook] = [.prerouting, .input, .forward]
    var hooks: [NftHook] = inward + [.output, .postrouting]
    if source.family == .netdev { hooks = [.ingress] }
    if fib.result != .addressType || fib.flags.contains(.inputInterface) {
      hooks = source.family == .netdev ? [.ingress] : inward
    } else if fib.flags.contains(.outputInterface) {
      hooks = [.output, .postrouting, .forward]
    }
    return hooks.contains(base.hook) ? nil : "this fib lookup cannot stand at \(base.hook.rawValue)"
  }
}
