// Two hosts on one bridge: the smallest lab there is.
import Netforge

let lab = Topology("quickstart")
let lan = lab.bridge("lan", subnet: "10.0.0.0/24")

let web = (1...2).map { i in
  lab.node("web\(i)") {
    Interface("eth0", on: lan, address: "10.0.0.\(i)/24")
  }
}

lab.expect(web[0], reaches: web[1], ttl: 64)
lab.expect(lan, hasLearned: web[0]["eth0"])
