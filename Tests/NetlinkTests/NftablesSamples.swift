// SPDX-License-Identifier: GPL-2.0-or-later

// Rulesets as nft itself takes them: what the round trips begin from.

import Nftables

/// A chain and rules for it.
struct NftablesSample: Sendable {
  var family: String
  /// The base chain, as nft declares it.
  var chain: String
  var rules: [String]

  static let all: [NftablesSample] = [
    NftablesSample(
      family: "ip", chain: "type filter hook input priority 0",
      rules: [
        "ct state established,related accept", "ct state ! established accept",
        "ct state vmap { established : accept, related : accept, invalid : drop }",
        "iifname { eth0, eth1 } accept", "iifname \"eth*\" accept", "iifname != \"eth*\" accept",
        "iifname { \"eth*\", \"lo\" } accept", "iif lo accept",
        "ip saddr . tcp dport { 10.0.0.1 . 22, 10.0.0.2 . 80 } accept", "ip saddr . tcp dport @conciv accept",
        "ip saddr . tcp dport { 10.0.0.0/24 . 22, 10.0.1.0-10.0.1.9 . 80-90 } accept",
        "meta iifname . ip saddr { lo . 127.0.0.1 } accept",
        "tcp dport vmap { 22 : accept, 80 : jump other, 443 : goto other }",
        "tcp dport { 22, 80, 1000-2000 } accept", "tcp dport 1000-2000 accept",
        "ip saddr != 10.0.0.1-10.0.0.9 accept", "ip saddr != { 10.0.0.1, 10.0.0.2 } accept",
        "limit rate 10/second burst 20 packets accept", "limit rate over 1 mbytes/second drop",
        "tcp dport 22 reject with tcp reset", "reject", "reject with icmp host-prohibited",
        "icmp type echo-request accept", "icmp type { echo-request, echo-reply } accept",
        "log prefix \"drop: \" level warn flags all drop", "log group 3 snaplen 64 accept", "log",
        "counter accept", "counter name cnt", "limit name lim accept", "quota name quo accept",
        "quota over 25 mbytes drop", "ip saddr { 10.0.0.0/8, 192.168.0.0/16 } accept",
        "ip saddr 10.0.0.0/8 accept", "ip saddr 10.1.0.0/20 accept", "ip saddr 10.0.0.1-10.0.0.9 accept",
        "ip saddr @blk drop", "ip saddr != @blk drop", "tcp dport @ports accept", "ip saddr vmap @verdicts",
        "meta mark set 0x1", "meta mark set meta mark and 0xff or 0x100", "ct mark set meta mark",
        "meta mark set ct mark", "ct mark set 0x5", "meta mark { 1-5, 9 } accept", "meta mark 0x10 accept",
        "ct status dnat accept", "ct original ip daddr 10.0.0.1 accept", "ct direction original accept",
        "socket transparent 1 accept", "fib daddr type local accept", "fib saddr . iif oif 0 drop",
        "meta length 100-200 accept", "tcp flags syn accept", "tcp flags & (syn|ack) == syn accept",
        "ip dscp 10 accept", "ip dscp { 1, 2 } accept", "ip ttl < 5 drop", "ct count over 10 drop",
        "ip saddr 10.0.0.1 ip daddr 10.0.0.2 tcp sport 1 tcp dport 2 accept",
        "numgen random mod 100 < 50 accept",
        "add @dyn { ip saddr timeout 10s limit rate 5/second } accept", "meta pkttype broadcast drop",
        "udp dport { 53, 67-68 } counter packets 5 bytes 300 accept comment \"names and leases\"", "return",
        "notrack", "ip ttl set 7", "ip dscp set 46", "ip ecn set 1", "tcp dport set 80",
        "ip daddr set 10.0.0.1",
        "udp sport set 53", "ip id set 5", "tcp option maxseg size set 1200", "reset tcp option timestamp",
        "tcp option timestamp exists", "ip option rr exists", "meta priority set 0x10002",
        "meta mark set ip saddr map { 10.0.0.1 : 0x1, 10.0.0.2 : 0x2 }",
        "meta mark set meta mark map @bymark", "meta mark set jhash ip saddr mod 4 seed 0x5 offset 1",
        "meta mark set numgen inc mod 5", "meta mark set symhash mod 2", "ct mark set meta mark and 0xff",
        "meta mark set ct mark or 0x1", "ct zone 5 accept", "ct bytes > 1000 accept", "dup to 10.0.0.1",
        "tcp flags == syn accept", "tcp flags != syn accept",
        "counter name tcp dport map { 80 : \"cnt\" }", "tcp dport 21 ct helper set \"hlp\"",
        "meta l4proto tcp ct timeout set \"tmo\"", "meta l4proto udp ct expectation set \"exp\"",
        "update @dyn { ip saddr timeout 5s counter }", "delete @dyn { ip saddr }",
        "add @cntd { ip saddr } accept", "delete @cntd { ip saddr }", "ip saddr @cntd drop",
        "ct event set new,destroy", "ct event set 0x0", "counter name tcp dport map @percnt",
        "limit name ip saddr map @perlim", "add @learnt { ip saddr : tcp dport }",
        "update @tagged { ip saddr timeout 5s : 0x1 }", "add @tagged { ip saddr : ct mark }",
        "delete @tagged { ip saddr : 0x0 }",
        "add @moved { ip saddr . tcp dport : ip daddr . tcp sport } accept",
        "add @moved { ip saddr . tcp dport : 10.0.0.1 . 80 }", "add @came { ip saddr : iifname }",
        "meta mark set ip saddr map @tagged",
        "ct label set 7", "ct label 70 accept", "ct label 5,70 accept", "ct label != 5 accept",
        "tcp dport 80 ct state invalid,untracked synproxy mss 1460 wscale 7 timestamp sack-perm",
        "tcp dport 81 synproxy", "tcp dport 82 synproxy mss 1200 wscale 0 sack-perm", "synproxy name \"prx\"",
      ]),
    NftablesSample(
      family: "ip", chain: "type nat hook prerouting priority -100",
      rules: [
        "tcp dport 80 dnat to 10.0.0.2:8080", "tcp dport 80 redirect to :3128",
        "dnat to tcp dport map @fwdmap",
        "dnat ip to tcp dport map { 80 : 10.0.0.2 . 8080, 443 : 10.0.0.3 . 8443 }",
        "dnat to numgen inc mod 2 map { 0 : 10.0.0.2, 1 : 10.0.0.3 }",
        "dnat to jhash ip saddr . tcp sport mod 2 seed 0xdeadbeef map { 0 : 10.0.0.2, 1 : 10.0.0.3 }",
        "dnat to 10.0.0.2-10.0.0.9", "tcp dport 1-9 dnat to :99",
      ]),
    NftablesSample(
      family: "ip", chain: "type nat hook postrouting priority 100",
      rules: [
        "oifname eth0 masquerade",
        "oifname eth0 meta l4proto tcp masquerade to :1024-65535 random,persistent",
        "ip saddr 10.0.0.0/8 meta l4proto tcp snat to 192.0.2.1-192.0.2.9:1000-2000 fully-random",
        "snat to 192.0.2.1",
      ]),
    NftablesSample(
      family: "inet", chain: "type filter hook input priority 0",
      rules: [
        "icmpv6 type { nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept",
        "reject with icmpx admin-prohibited", "reject", "reject with icmp host-prohibited",
        "ether saddr 00:11:22:33:44:55 accept", "icmp type echo-request icmp code 0 accept",
        "meta l4proto { tcp, udp } th dport 53 accept", "ip protocol tcp tcp dport 80 accept",
        "tcp dport { 80, 443 } ip saddr 10.0.0.0/8 accept", "ip saddr . meta mark { 10.0.0.1 . 5-10 } accept",
        "ip saddr . meta mark { 10.0.0.0/8 . 5 } accept",
        "ip saddr . iifname { 10.0.0.0/8 . \"eth0\" } accept",
        "ip6 saddr 2001:db8::/32 accept", "ip6 saddr { 2001:db8::1, 2001:db8:1::/48 } accept",
        "ip6 saddr . tcp dport { 2001:db8::1 . 22 } accept", "meta skuid 1000 accept",
        "exthdr frag exists drop",
        "meta nfproto ipv6 accept", "meta l4proto sctp drop", "sctp dport 9 accept", "ct mark 1-9 accept",
      ]),
    NftablesSample(
      family: "inet", chain: "type filter hook forward priority 0",
      rules: [
        "ip option ra value 0", "ip option rr ptr 4", "ip option ssrr length 3",
        "igmp type membership-query", "ip6 flowlabel 5", "tcp reserved 0", "tcp option eol exists",
        "tcp option maxseg length 4", "tcp option sack left 5", "tcp option sack1 left 5",
        "tcp option sack3 right 5", "tcp option mptcp subtype 1", "tcp option fastopen length 2",
        "tcp option md5sig exists", "tcp option 255 exists", "tcp option @200,8,16 5", "udplite csumcov 5",
        "sctp chunk data exists", "sctp chunk init init-tag 5", "sctp chunk data flags 3",
        "dccp type request",
        "dccp type { request, close }", "ah reserved 0", "comp flags 1", "hbh nexthdr tcp", "rt hdrlength 5",
        "rt0 addr[1] 2001:db8::1", "frag frag-off 5", "frag frag-off 1-5", "frag more-fragments 1",
        "mh type home-test-init", "srh flags 1", "exthdr mh exists", "exthdr dst missing",
        "meta time > \"2026-11-26 10:00:00\"", "meta time \"2026-11-26\"-\"2026-11-27 12:00:00\"",
        "meta hour \"10:00\"-\"11:00\"", "meta hour \"23:59:59\"", "meta day \"Monday\"",
        "meta day { \"Saturday\", \"Sunday\" }", "ct original zone 5", "ct id 5",
        "rt ip nexthop 10.0.0.1", "rt ip6 nexthop 2001:db8::1", "ether type 8021ad",
      ]),
    NftablesSample(
      family: "inet", chain: "type filter hook forward priority 0; policy drop",
      rules: [
        "tcp flags syn tcp option maxseg size set rt mtu", "tcp flags syn tcp option maxseg size set 1400",
      ]),
    NftablesSample(
      family: "inet", chain: "type nat hook prerouting priority -100",
      rules: [
        "ip6 daddr 2001:db8::1 tcp dport 80 dnat ip6 to [2001:db8::2]:8080",
        "ip protocol tcp dnat ip to 10.0.0.2",
      ]),
    NftablesSample(
      family: "inet", chain: "type filter hook prerouting priority -150",
      rules: [
        "tcp dport 80 tproxy ip to 127.0.0.1:3129 meta mark set 1 accept", "tcp dport 81 tproxy to :3129",
      ]),
    NftablesSample(
      family: "bridge", chain: "type filter hook input priority -200",
      rules: [
        "ether saddr 00:11:22:33:44:55 accept", "vlan id 100 ip saddr 10.0.0.1 accept", "vlan dei 1",
        "ip saddr 10.0.0.1 accept",
      ]),
    NftablesSample(
      family: "arp", chain: "type filter hook input priority 0",
      rules: [
        "arp saddr ip 10.0.0.1 drop", "arp operation request accept", "arp htype 1 arp ptype ip accept",
      ]),
    NftablesSample(
      family: "netdev", chain: "type filter hook ingress device lo priority 0",
      rules: ["ip saddr 10.0.0.1 drop", "tcp dport 22 accept"]),
  ]

  /// All samples as one file, each in a table of its own.
  static let text: String = all.enumerated().map { $1.table($0) }.joined(separator: "\n")

  /// The sample alone.
  var file: String { table(0) }

  private func table(_ index: Int) -> String {
    let sets =
      family == "ip"
      ? """
      counter cnt { }
      limit lim { rate 400/minute }
      quota quo { over 100 bytes }
      set blk { type ipv4_addr; flags interval; elements = { 10.9.0.0/16, 192.0.2.1, 192.0.2.5-192.0.2.9 } }
      set ports { type inet_service; size 128; comment "a few"; elements = { 22, 80 comment "web" } }
      set conciv { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.0/8 . 22, 192.0.2.0/24 . 1-9 } }
      map fwdmap { type inet_service : ipv4_addr . inet_service; elements = { 80 : 10.0.0.2 . 8080 } }
      map verdicts { type ipv4_addr : verdict; elements = { 10.0.0.1 : accept, 10.0.0.2 : jump other } }
      set dyn { type ipv4_addr; flags dynamic,timeout; size 1000; timeout 1m; }
      set cntd { type ipv4_addr; flags dynamic; size 100; counter; comment "who"; elements = { 10.0.0.5 comment "he" } }
      set marks { type mark; elements = { 0x1, 0x2 } }
      set names { type ifname; elements = { "eth0", "lo" } }
      map bymark { type mark : mark; elements = { 0x1 : 0x10 } }
      map percnt { type inet_service : counter; size 9; elements = { 80 comment "web" : "cnt" } }
      map perlim { type ipv4_addr : limit; flags interval; elements = { 10.0.0.0/8 : "lim" } }
      map learnt { type ipv4_addr : inet_service; flags dynamic; size 9; elements = { 10.0.0.5 : 80 } }
      map tagged { type ipv4_addr : mark; flags dynamic,timeout; timeout 1m; size 9; }
      map moved { type ipv4_addr . inet_service : ipv4_addr . inet_service; flags dynamic; size 9; }
      map came { type ipv4_addr : ifname; flags dynamic; size 9; }
      ct helper hlp { type "ftp" protocol tcp; }
      ct timeout tmo { protocol tcp; policy = { established : 100, close : 5 }; }
      ct expectation exp { protocol udp; dport 9876; timeout 2m; size 12; }
      synproxy prx { mss 1460; wscale 7; timestamp sack-perm; }
      """ : ""
    return """
      table \(family) t\(index) {
      \(sets)
      chain other { comment "jumped to"; }
      chain c { \(chain);
      \(rules.joined(separator: "\n"))
      }
      }
      """
  }
}
