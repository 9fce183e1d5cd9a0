// Two sites behind NAT routers with private addresses, and a host on the network between them.
import Netforge

let lab = Topology("nat-sites")
let internet = lab.bridge("internet", subnet: "10.0.0.0/8")

let h0 = lab.node("h0") {
  Interface("eth0", on: internet, address: "10.0.0.1/8")
  Service(.http(port: 80))
  Firewall(policy: .accept) { Reject(.tcp(9)) }
}

let sites = (1...2).map { site in
  let subnet = "192.168.\(site)"
  let lan = lab.bridge("site\(site)", subnet: "\(subnet).0/24")
  let nat = lab.router("nat\(site)") {
    // The second site's way into the internet is a narrow one.
    Interface("wan0", on: internet, address: "10.0.0.\(10 + site)/8", mtu: site == 2 ? 1400 : 1500)
    Interface("lan0", on: lan, address: "\(subnet).1/24")
    Masquerade(out: "wan0")
    Firewall(policy: .accept) {
      Drop(from: "lan0", destination: "\(subnet).0/24")
      Accept(from: "lan0", source: "\(subnet).0/24")
      Accept(to: "lan0", destination: "\(subnet).0/24")
    }
  }
  // Two hosts, which may take the same source port.
  let hosts = [("h", 100), ("g", 101)].map { letter, number in
    lab.node("\(letter)\(site)") {
      Interface("eth0", on: lan, address: "\(subnet).\(number)/24")
      Route(.default, via: nat)
    }
  }
  lab.expect(hosts, reach: h0, on: .tcp(9000), fromPort: 5555)
  lab.expect(hosts, reach: h0, on: .udp(9000), fromPort: 5555)
  return hosts[0]
}

lab.expect(sites[0], reaches: h0, ttl: 63)
lab.expect(sites[0], reaches: h0, on: .http(80, status: 200, body: "h0 in lab"))
lab.expect(sites[1], reaches: h0, on: .udp(4000))
lab.expect(sites[0], reaches: h0, through: ["192.168.1.1"])
lab.expect(sites[0], appearsTo: h0, as: "10.0.0.11")
lab.expect(sites[1], appearsTo: h0, as: "10.0.0.12")
lab.expect(h0, cannotReach: sites[0], because: .noRoute)
lab.expect(sites[0], cannotReach: sites[1])
// The error of a closed port finds its way back through the translation.
lab.expect(sites[0], cannotReach: h0, on: .tcp(9), because: .rejected)
lab.expect(sites[0], pathMTU: 1500, to: h0)
lab.expect(sites[1], pathMTU: 1400, to: h0)

// A second `up` changes nothing, and `down` leaves the host's forwarding and rules as they were.
lab.expect(differences: 0)
lab.expectCleanDown()
