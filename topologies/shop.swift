// A shop behind a router: NAT to the provider, a published web server, a firewall between the zones.
import Netforge

let lab = Topology("shop")
let lan = lab.bridge("lan", subnet: "10.0.1.0/24")
let dmz = lab.bridge("dmz", subnet: "10.0.2.0/24")

let gw = lab.router("gw") {
  Interface("lan0", on: lan, address: "10.0.1.1/24")
  Interface("dmz0", on: dmz, address: "10.0.2.1/24")
  Interface("wan0", address: "203.0.113.2/30")
  Route(.default, via: "203.0.113.1")

  Masquerade(out: "wan0")
  Publish(.tcp(8080), on: "wan0", toHost: "10.0.1.11", port: 80)

  Firewall(policy: .drop) {  // a router's forward chain
    let admins = AddressSet("admins", ["10.0.1.200", "10.0.1.16/28"])
    Accept(.established, .related)
    Accept(from: "lan0", to: "wan0")
    Accept(.tcp(5432), from: "lan0", to: "dmz0")
    Accept(.tcp(80), from: "wan0", to: "lan0")
    Accept(.tcp(22), to: "dmz0", source: admins)
    Drop(log: "gw-drop")
  }
}

let web = (1...3).map { i in
  lab.node("web\(i)") {
    // Without an address it would take a free one of the subnet, and keep it.
    Interface("eth0", on: lan, address: "10.0.1.\(10 + i)/24")
    Route(.default, via: gw)
    Service(.http(port: 80))
  }
}

let db = lab.node("db") {
  Interface("eth0", on: dmz, address: "10.0.2.10/24")
  Route(.default, via: gw)
  Service(.echo(port: 5432))
}

let isp = lab.node("isp") { Interface("eth0", address: "203.0.113.1/30") }
lab.link(gw["wan0"], isp["eth0"]).impaired(rate: .mbps(100))

lab.expect(web[0], reaches: db, on: .tcp(5432))
lab.expect(db, cannotReach: web[0], on: .tcp(22))
lab.expect(isp, reaches: gw["wan0"], on: .tcp(8080))
lab.expect(web[1], appearsTo: isp, as: "203.0.113.2")
