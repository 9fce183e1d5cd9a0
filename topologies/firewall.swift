// A zone firewall in the general form: a verdict map from the pair of interfaces to the chain of the zone crossing,
// named sets, a counter, a limit, and a log line for what is dropped.
import Netforge

let lab = Topology("firewall")
let trusted = lab.bridge("trusted", subnet: "10.1.0.0/24")
let untrusted = lab.bridge("untrusted", subnet: "10.2.0.0/24")
let dmz = lab.bridge("dmz", subnet: "10.3.0.0/24")

let fw = lab.router("fw") {
  Interface("trust0", on: trusted, address: "10.1.0.1/24")
  Interface("untrust0", on: untrusted, address: "10.2.0.1/24")
  Interface("dmz0", on: dmz, address: "10.3.0.1/24")

  Table("zones") {
    let blocked = NamedSet("blocked", of: IP.source, ["10.2.0.66", "10.2.0.128/25"], interval: true)
    Chain("forward", hook: .forward, policy: .drop) {
      Rule {
        Conntrack.state.is(.established, .related)
        Verdict.accept
      }
      Rule {
        Conntrack.state.is(.invalid)
        Verdict.drop
      }
      Rule(comment: "known offenders") {
        IP.source.isIn(blocked)
        Counter()
        Verdict.drop
      }
      Rule {
        Meta.incoming.and(Meta.outgoing).verdict([
          (Pair("trust0", "untrust0"), .accept), (Pair("trust0", "dmz0"), .jump("to-dmz")),
          (Pair("untrust0", "dmz0"), .jump("to-dmz")),
        ])
      }
      Rule {
        Limit(5, per: .second, burst: 10)
        LogPacket("fw-drop ")
      }
      Rule { Counter() }
    }
    Chain("to-dmz") {
      Rule {
        TCP.destinationPort.is(80, 443)
        Counter()
        Verdict.accept
      }
      Rule {
        ICMP.type.is(.echoRequest)
        Verdict.accept
      }
    }
  }
}

/// A host with the firewall as its gateway.
func host(_ name: String, on bridge: Bridge, address: String, port: Int? = nil) -> Node {
  lab.node(name) {
    Interface("eth0", on: bridge, address: address)
    Route(.default, via: fw)
    if let port { Service(.http(port: port)) }
  }
}

let desk = host("desk", on: trusted, address: "10.1.0.10/24")
let visitor = host("visitor", on: untrusted, address: "10.2.0.10/24", port: 80)
let offender = host("offender", on: untrusted, address: "10.2.0.66/24")
let web = host("web", on: dmz, address: "10.3.0.10/24", port: 80)

lab.expect(desk, reaches: visitor, on: .tcp(80))
lab.expect(desk, reaches: web, on: .tcp(80))
lab.expect(visitor, reaches: web, on: .tcp(80))
lab.expect(visitor, cannotReach: desk)
lab.expect(web, cannotReach: visitor)
lab.expect(offender, cannotReach: web, on: .tcp(80))
lab.expect(visitor, cannotReach: web, on: .tcp(22))
lab.expect(web, cannotReach: visitor, on: .tcp(80))
lab.expect(fw, counts: "known offenders", packets: .atLeast(1))
