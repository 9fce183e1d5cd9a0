// SPDX-License-Identifier: GPL-2.0-or-later

// Emulated labs that are joined to the host's network, looked at from both sides.

import Foundation
import Testing

extension Acceptance {
  @Suite(
    "Host edges",
    .enabled(if: Host.isRoot && access("/dev/net/tun", R_OK | W_OK) == 0, "needs root and /dev/net/tun"))
  struct HostEdgeTests {
    /// A lab of root's in the emulated kernel.
    struct RootLab {
      let name = "edge-\(String(UInt16.random(in: .min ... .max), radix: 16))"

      func netforge(_ verb: String, _ arguments: String...) throws -> Outcome {
        try Caller.kernel.netforge(
          [verb] + arguments + ["--name", name], environment: ["NETFORGE_DATAPATH": "emulated"])
      }

      /// Brings a file up, finds nothing to do after that, and leaves the host as it was, whatever `body` did to the lab.
      func live(_ file: String, _ body: () throws -> Void) throws {
        let before = try HostSnapshot.take()
        do {
          defer { _ = try? netforge("down") }
          let up = try netforge("up", file)
          try #require(up.status == 0, "\(up)")
          try expectNoChanges(file)
          try body()
        }
        #expect(try HostSnapshot.take() == before, "the host is as before")
      }

      func expectNoChanges(_ file: String) throws {
        let plan = try netforge("plan", file, "--detailed-exitcode")
        #expect(plan.status == 0, "\(plan)")
      }
    }

    /// A router with `way` into the host, and a node with an HTTP service behind it.
    static func topology(_ way: String) -> String {
      """
      import Netforge
      let lab = Topology("edge")
      let lan = lab.bridge("lan", subnet: "10.91.1.0/24")
      let gw = lab.router("gw") {
        Uplink("up0", \(way), address: "10.91.0.2/24")
        Interface("lan0", on: lan, address: "10.91.1.1/24")
      }
      lab.node("web") {
        Interface("eth0", on: lan, address: "10.91.1.2/24")
        Route(.default, via: gw)
        Service(.http(port: 80))
      }
      """
    }

    /// Two nodes with an internet by the host.
    static let internet = """
      import Netforge
      let lab = Topology("internet")
      let internet = lab.internet(via: .host)
      for name in ["a", "b"] {
        lab.node(name) {
          Interface("wan0", on: internet)
          Route(.default, via: internet)
        }
      }
      """

    /// Gives back what comes to port 7, datagrams and bytes.
    static let echo = """
      import socket, sys, threading
      def datagrams(udp):
        while True:
          data, peer = udp.recvfrom(65536)
          udp.sendto(data, peer)
      def stream(tcp):
        while data := tcp.recv(65536): tcp.sendall(data)
        tcp.close()
      udp = socket.socket(type=socket.SOCK_DGRAM)
      udp.bind((sys.argv[1], 7))
      threading.Thread(target=datagrams, args=(udp,), daemon=True).start()
      listener = socket.create_server((sys.argv[1], 7))
      while True: threading.Thread(target=stream, args=(listener.accept()[0],), daemon=True).start()
      """

    /// The host reaches the lab behind the tap, and the lab the host.
    static func expectReach(_ caller: Caller, _ name: String) throws {
      try Host.run("ip", "route", "replace", "10.91.1.0/24", "via", "10.91.0.2")
      for options in [["-c", "3", "-i", "0.1"], ["-c", "1", "-s", "6000"]] {
        let ping = try Host.run(["ping", "-n", "-W", "5"] + options + ["10.91.1.2"])
        #expect(ping.status == 0, "\(ping)")
      }
      let page = try Host.run("curl", "-sS", "--max-time", "20", "http://10.91.1.2/")
      #expect(page.output == "web in lab \(name)\n", "\(page)")
      let back = try caller.netforge("ping", "--name", name, "web", "10.91.0.1", "--count", "2")
      #expect(back.status == 0, "\(back)")
    }

    @Test("A pair into the host is a tap there: both sides reach each other, and what is deleted comes back")
    func pair() throws {
      let lab = RootLab()
      let scratch = try Scratch()
      let file = try scratch.file(
        "edge.swift", Self.topology(".veth(host: \"nf-edge0\", address: \"10.91.0.1/24\")"))
      try lab.live(file) {
        try Self.expectReach(.kernel, lab.name)
        try Host.run("ip", "link", "del", "nf-edge0")
        let plan = try lab.netforge("plan", file, "--detailed-exitcode")
        #expect(plan.status == 2 && plan.output.contains("nf-edge0"), "\(plan)")
        let up = try lab.netforge("up", file, "--yes")
        #expect(up.status == 0, "\(up)")
        try lab.expectNoChanges(file)
        try Self.expectReach(.kernel, lab.name)
        // Another MTU is changed in place, on both sides.
        let narrow = try scratch.file(
          "narrow.swift",
          Self.topology(".veth(host: \"nf-edge0\", address: \"10.91.0.1/24\")").replacing(
            "address: \"10.91.0.2/24\"", with: "address: \"10.91.0.2/24\", mtu: 1400"))
        #expect(try lab.netforge("up", narrow, "--yes").status == 0)
        let link = try Host.run("ip", "-j", "link", "show", "nf-edge0").list()
        #expect(link.first?["mtu"] as? Int == 1400)
        try Self.expectReach(.kernel, lab.name)
        // Without the uplink the tap goes.
        let alone = try scratch.file(
          "alone.swift",
          Self.topology("").split(separator: "\n").filter { !$0.contains("Uplink") }.joined(separator: "\n"))
        let without = try lab.netforge("up", alone, "--yes")
        #expect(without.status == 0, "\(without)")
        #expect(try Host.run("ip", "link", "show", "nf-edge0").status != 0)
        try lab.expectNoChanges(alone)
        #expect(try lab.netforge("up", file, "--yes").status == 0)
      }
    }

    @Test("What a killed lab leaves on the host, the next up takes over and down takes away")
    func killed() throws {
      let lab = RootLab()
      let scratch = try Scratch()
      let file = try scratch.file(
        "edge.swift", Self.topology(".veth(host: \"nf-edge0\", address: \"10.91.0.1/24\")"))
      try lab.live(file) {
        for isLast in [false, true] {
          let process = try lab.netforge("status", "-f", "json").json()["process"] as? [String: Any]
          #expect(kill(pid_t(try #require(process?["pid"] as? Int)), SIGKILL) == 0)
          let deadline = Date().addingTimeInterval(10)
          while try lab.netforge("status").status == 0, Date() < deadline {}
          if isLast { break }
          let up = try lab.netforge("up", file, "--yes")
          #expect(up.status == 0, "\(up)")
          try lab.expectNoChanges(file)
          try Self.expectReach(.kernel, lab.name)
        }
      }
    }

    @Test("The lab's internet goes through the host, which translates, and its settings come back")
    func internet() throws {
      let lab = RootLab()
      let scratch = try Scratch()
      let file = try scratch.file("internet.swift", Self.internet)
      // Somebody beyond the host, who knows no way back into the lab.
      let beyond = "edge-beyond-\(getpid())"
      try Host.run("ip", "netns", "add", beyond)
      try Host.run("ip", "link", "add", "edge-b0", "type", "veth", "peer", "name", "b1", "netns", beyond)
      try Host.run("ip", "addr", "add", "198.51.100.1/24", "dev", "edge-b0")
      try Host.run("ip", "link", "set", "edge-b0", "up")
      try Host.run("ip", "-n", beyond, "addr", "add", "198.51.100.2/24", "dev", "b1")
      try Host.run("ip", "-n", beyond, "link", "set", "b1", "up")
      defer {
        _ = try? Host.run("ip", "link", "del", "edge-b0")
        _ = try? Host.run("ip", "netns", "del", beyond)
      }
      try lab.live(file) {
        for node in ["a", "b"] {
          let ping = try lab.netforge("ping", node, "198.51.100.2", "--count", "2")
          #expect(ping.status == 0, "\(ping)")
        }
      }
    }

    @Test(
      "An ordinary user's lab has its internet by the host's sockets: who is there answers, who is not does not",
      .enabled(if: Stage.isPrivate && Host.has("python3"), "gives the host an address; needs python3"))
    func ownInternet() throws {
      let lab = TestLab(.emulated, "edge")
      let scratch = try Scratch()
      let file = try scratch.file("internet.swift", Self.internet)
      try Host.run("ip", "addr", "add", "198.51.100.7/32", "dev", "lo")
      let groups = try Host.run("sysctl", "-n", "net.ipv4.ping_group_range").output
      try Host.run("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
      defer {
        _ = try? Host.run("ip", "addr", "del", "198.51.100.7/32", "dev", "lo")
        _ = try? Host.run("sysctl", "-qw", "net.ipv4.ping_group_range=\(groups)")
      }
      let server = try Host.start(Stage.prefix + ["python3", "-c", Self.echo, "198.51.100.7"])
      defer { server.stop() }
      try lab.live(file) {
        for node in ["a", "b"] {
          let ping = try lab.netforge("ping", node, "198.51.100.7", "--count", "2")
          #expect(ping.status == 0, "\(ping)")
        }
        let silent = try lab.netforge("ping", "a", "198.51.100.8", "--count", "1", "--wait", "300")
        #expect(silent.status == 1, "\(silent)")
        let text = String(decoding: (0..<300_000).map { _ in UInt8.random(in: 0x61...0x7a) }, as: UTF8.self)
        let echoed = try lab.netforge("nc", "a", "198.51.100.7", "7", input: text)
        #expect(echoed.status == 0 && echoed.output == text, "\(echoed.error)")
        let closed = try lab.netforge("nc", "a", "198.51.100.7", "9", input: "x")
        #expect(closed.status == 1 && closed.error.contains("connection refused"), "\(closed)")
        let datagram = try lab.netforge("nc", "-u", "-w", "1s", "a", "198.51.100.7", "7", input: "hello\n")
        #expect(datagram.output == "hello\n", "\(datagram)")
      }
    }

    @Test(
      "An ordinary user's lab is joined to a tap that root has made for the user, and leaves it",
      .enabled(if: Stage.isPrivate, "changes what the host mounts"))
    func ownTap() throws {
      let lab = TestLab(.emulated, "edge")
      let scratch = try Scratch()
      let file = try scratch.file("edge.swift", Self.topology(".tap(\"nf-tap0\")"))
      // The device file may be root's alone here.
      try Host.run("sh", "-c", "mknod -m 666 /run/tun c 10 200 && mount --bind /run/tun /dev/net/tun")
      defer { _ = try? Host.run("sh", "-c", "umount /dev/net/tun; rm /run/tun") }
      let missing = try lab.up(file)
      #expect(missing.status == 69 && missing.error.contains("the host has no nf-tap0"), "\(missing)")
      try Host.run("ip", "tuntap", "add", "nf-tap0", "mode", "tap", "user", "nobody")
      defer { _ = try? Host.run("ip", "link", "del", "nf-tap0") }
      try Host.run("ip", "addr", "add", "10.91.0.1/24", "dev", "nf-tap0")
      try Host.run("ip", "link", "set", "nf-tap0", "up")
      try lab.during(file) {
        #expect(try lab.plan(file).isEmpty)
        try Self.expectReach(.emulated, lab.name)
      }
      let address = try Host.run("ip", "-4", "addr", "show", "nf-tap0")
      #expect(address.output.contains("10.91.0.1/24"), "the tap is the user's still: \(address)")
      // The host's kernel has no program behind a tap.
      let kernel = try Caller.kernel.netforge("plan", file, "--name", lab.name)
      #expect(kernel.status == 69 && kernel.error.contains("edge.swift:5"), "\(kernel)")
    }

    @Test("What an ordinary user may not make on the host is a limitation by name and line")
    func unprivileged() throws {
      let lab = TestLab(.emulated, "edge")
      let scratch = try Scratch()
      for (way, cause) in [
        (".veth(address: \"10.91.0.1/24\")", "only root"), (".move(\"eth1\")", "no devices of the host"),
        (".macvlan(\"eth0\")", "no devices of the host"),
      ] {
        let up = try lab.up(scratch.file("edge.swift", Self.topology(way)))
        #expect(up.status == 69 && up.error.contains(cause) && up.error.contains("edge.swift:5"), "\(up)")
      }
    }
  }
}
