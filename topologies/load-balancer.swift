// Connections to one address are spread over three servers, each staying where it began.
import Netforge

let lab = Topology("load-balancer")
let front = lab.bridge("front", subnet: "100.0.0.0/24")
let back = lab.bridge("back", subnet: "10.0.0.0/24")

let balancer = lab.router("balancer") {
  Interface("eth0", on: front, address: "100.0.0.2/24")
  Interface("eth1", on: back, address: "10.0.0.5/24")
  Publish(.tcp(80), on: "eth0", toHosts: ["10.0.0.1", "10.0.0.2", "10.0.0.3"], port: 80)
}

let servers = (1...3).map { i in
  lab.node("server\(i)") {
    Interface("eth0", on: back, address: "10.0.0.\(i)/24")
    Route(.default, via: "10.0.0.5")
    Service(.http(port: 80))
  }
}

let clients = (1...2).map { i in
  lab.node("client\(i)") { Interface("eth0", on: front, address: "100.0.0.\(9 + i)/24") }
}

lab.expect(clients[0], reaches: balancer["eth0"], on: .tcp(80))
lab.expect(clients[1], reaches: balancer["eth0"], on: .tcp(80))
lab.expect(clients[0], reaches: balancer["eth0"], spreadOver: servers, connections: 300)
lab.expect(clients[0], staysConnectedTo: balancer["eth0"], requests: 20)
lab.expect(clients[0], cannotReach: "10.0.0.1", because: .noRoute)
