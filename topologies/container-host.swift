// The picture that every article on container networking draws: containers on a bridge inside a host, NAT to the
// outside, one published port.
import Netforge

let lab = Topology("container-host")

let host = lab.router("host") {
  Interface("eth0", address: "203.0.113.10/24")
  Bridge("docker0", address: "172.17.0.1/16", ports: ["veth1", "veth2"])
  Interface("veth1")
  Interface("veth2")
  Route(.default, via: "203.0.113.1")

  Masquerade(out: "eth0", source: "172.17.0.0/16")
  Publish(.tcp(8080), on: "eth0", toHost: "172.17.0.2", port: 80)
  Firewall(policy: .drop) {
    Accept(.established, .related)
    Accept(from: "docker0")
    Accept(.tcp(80), from: "eth0", to: "docker0", destination: "172.17.0.2")
  }
}

let containers = (1...2).map { i in
  let container = lab.node("c\(i)") {
    Interface("eth0", address: "172.17.0.\(1 + i)/16")
    Route(.default, via: "172.17.0.1")
    Service(.http(port: 80))
  }
  lab.link(host["veth\(i)"], container["eth0"])
  return container
}

let outside = lab.node("outside") {
  Interface("eth0", address: "203.0.113.1/24")
  Service(.http(port: 80))
}
lab.link(host["eth0"], outside["eth0"])

lab.expect(containers[0], reaches: containers[1], on: .tcp(80))
lab.expect(containers[0], reaches: outside, on: .tcp(80))
lab.expect(containers[0], appearsTo: outside, as: "203.0.113.10")
lab.expect(outside, reaches: host["eth0"], on: .tcp(8080))
lab.expect(outside, cannotReach: containers[1], on: .tcp(80), because: .noRoute)
