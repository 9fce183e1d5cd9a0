// A k-ary fat tree of routers: k pods of k/2 edge and k/2 aggregation routers, (k/2)^2 cores, a host on each edge.
import Netforge

let lab = Topology("fat-tree")
let k = Int(lab.variable("k", default: "4")) ?? 4
let half = k / 2

/// Two ends of a /31-like pair, out of one block a layer.
func pair(_ layer: Int, _ index: Int) -> (String, String) {
  ("10.\(layer).\(index / 64).\(index % 64 * 4 + 1)", "10.\(layer).\(index / 64).\(index % 64 * 4 + 2)")
}

/// The subnet of the hosts behind edge `edge` of `pod`.
func hosts(_ pod: Int, _ edge: Int) -> String { "10.\(100 + pod).\(edge)" }

/// The link between a core and the aggregation router of `pod` that it hangs on.
func coreLink(_ core: Int, _ pod: Int) -> (String, String) { pair(1, core * k + pod) }

/// The link between an aggregation router and an edge router of `pod`.
func podLink(_ pod: Int, _ aggregation: Int, _ edge: Int) -> (String, String) {
  pair(2, (pod * half + aggregation) * half + edge)
}

let cores = (0..<half * half).map { core in
  lab.router("core\(core)") {
    for pod in 0..<k {
      Interface("pod\(pod)", address: coreLink(core, pod).0 + "/30")
      Route("10.\(100 + pod).0.0/16", via: coreLink(core, pod).1)
    }
  }
}

/// One pod: its aggregation and edge routers, its hosts, and the links to the cores.
func makePod(_ pod: Int) -> [Node] {
  let aggregations = (0..<half).map { a in
    lab.router("agg\(pod)x\(a)") {
      for c in 0..<half {
        Interface("core\(c)", address: coreLink(a * half + c, pod).1 + "/30")
      }
      for e in 0..<half {
        Interface("edge\(e)", address: podLink(pod, a, e).0 + "/30")
        Route(hosts(pod, e) + ".0/24", via: podLink(pod, a, e).1)
      }
      Route(.default, via: (0..<half).map { coreLink(a * half + $0, pod).0 })
    }
  }
  for a in 0..<half {
    for c in 0..<half { lab.link(cores[a * half + c]["pod\(pod)"], aggregations[a]["core\(c)"]) }
  }
  return (0..<half).map { e in
    let edge = lab.router("edge\(pod)x\(e)") {
      for a in 0..<half { Interface("agg\(a)", address: podLink(pod, a, e).1 + "/30") }
      Interface("host0", address: hosts(pod, e) + ".1/24")
      Route(.default, via: (0..<half).map { podLink(pod, $0, e).0 })
    }
    for a in 0..<half { lab.link(aggregations[a]["edge\(e)"], edge["agg\(a)"]) }
    let host = lab.node("h\(pod)x\(e)") {
      Interface("eth0", address: hosts(pod, e) + ".2/24")
      Route(.default, via: hosts(pod, e) + ".1")
    }
    lab.link(edge["host0"], host["eth0"])
    return host
  }
}

let all = (0..<k).flatMap(makePod)
lab.expect(mesh: all)
