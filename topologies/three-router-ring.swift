// Three routers in a ring, a PC behind each: static routes the short way round. With `--var detour=yes` the link
// between router1 and router2 is down, and what used it goes by router3; `up` of a running lab changes just that.
import Netforge

let lab = Topology("three-router-ring")
let detour = lab.variable("detour", default: "no") == "yes"

/// A router with its loopback address, its two ring interfaces, and the PC's subnet behind it.
func router(_ number: Int, east: String, west: String, routes: [(String, String)]) -> Node {
  lab.router("router\(number)") {
    Loopback(address: "10.10.10.\(number)/32")
    Interface("eth1", address: east, up: !detour || number == 3)
    Interface("eth2", address: west)
    Interface("eth3", address: "192.168.1\(number).1/24")
    for (destination, gateway) in routes { Route(destination, via: gateway) }
  }
}

let r1 = router(
  1, east: "192.168.1.1/24", west: "192.168.2.1/24",
  routes: [("192.168.12.0/24", detour ? "192.168.2.2" : "192.168.1.2"), ("192.168.13.0/24", "192.168.2.2")])
let r2 = router(
  2, east: "192.168.1.2/24", west: "192.168.3.1/24",
  routes: [("192.168.11.0/24", detour ? "192.168.3.2" : "192.168.1.1"), ("192.168.13.0/24", "192.168.3.2")])
let r3 = router(
  3, east: "192.168.2.2/24", west: "192.168.3.2/24",
  routes: [("192.168.11.0/24", "192.168.2.1"), ("192.168.12.0/24", "192.168.3.1")])

lab.link(r1["eth1"], r2["eth1"])
lab.link(r1["eth2"], r3["eth1"])
lab.link(r2["eth2"], r3["eth2"])

let pcs = [r1, r2, r3].enumerated().map { index, router in
  let number = index + 1
  let pc = lab.node("pc\(number)") {
    Interface("eth1", address: "192.168.1\(number).2/24")
    Route("192.168.0.0/16", via: "192.168.1\(number).1")
    Route("10.10.10.0/24", via: "192.168.1\(number).1")
  }
  lab.link(pc["eth1"], router["eth3"])
  return pc
}

lab.expect(pcs[0], reaches: "10.10.10.1", ttl: 64)
if detour {
  lab.expect(pcs[0], reaches: pcs[1], ttl: 61)
  for pc in pcs[..<2] { lab.expect(pc, reaches: pcs[2], ttl: 62) }
  lab.expect(pcs[0], reaches: pcs[1], through: [r1, r3, r2])
  lab.expect(r1, routes: "192.168.12.2", via: "192.168.2.2", on: "eth2")
} else {
  lab.expect(mesh: pcs, ttl: 62)
  lab.expect(pcs[0], reaches: pcs[1], through: [r1, r2])
  lab.expect(r1, routes: "192.168.12.2", via: "192.168.1.2", on: "eth1")

  // Static routes do not go round: what used the cut link is lost, the rest is as before.
  let cut = lab.scenario("the link between router1 and router2 is cut", .linkDown(r1["eth1"]))
  cut.expect(pcs[0], cannotReach: pcs[1])
  cut.expect(pcs[0], reaches: pcs[2], ttl: 62)
  let flap = lab.scenario("it comes back", .flap(r1["eth1"], for: .milliseconds(500)))
  flap.expect(pcs[0], reaches: pcs[1], .eventually(within: .seconds(5)))

  // What `up --var detour=yes` changes, and nothing else is touched by it.
  let rerouted = lab.scenario(
    "the cut link is gone round", .linkDown(r1["eth1"]),
    .setRoute("192.168.12.0/24", via: "192.168.2.2", in: r1),
    .setRoute("192.168.11.0/24", via: "192.168.3.2", in: r2))
  rerouted.expect(pcs[0], reaches: pcs[1], ttl: 61)
  rerouted.expect(pcs[0], reaches: pcs[1], through: [r1, r3, r2])
  rerouted.expect(keeps: [r1, r2, r3] + pcs)

  // What is changed by hand is one difference, and goes when the lab is made as this file says again.
  let drifted = lab.scenario(
    "an address is removed by hand", .removeAddress("192.168.12.1/24", from: r2["eth3"]))
  drifted.expect(differences: 1)
  let repaired = lab.scenario(
    "and comes back", .removeAddress("192.168.12.1/24", from: r2["eth3"]), .settle)
  repaired.expect(differences: 0)
  repaired.expect(mesh: pcs, ttl: 62)
  repaired.expect(keeps: [r1, r2, r3] + pcs)
}

lab.expect(differences: 0)
lab.expectCleanDown()
