// SPDX-License-Identifier: GPL-2.0-or-later

// The same requests about queueing disciplines go to the host's kernel and to an emulated one: both must say the same
// error and the same words, and have the same qdiscs and classes afterwards. What is said of netem, which not every kernel
// has, stands with its tests.

import Glibc
import NetTypes
import Netlink
import Rtnetlink
import SystemPackage
import Testing

@testable import NetStack

@Suite(
  "Queueing disciplines beside the kernel",
  .enabled(if: geteuid() == 0, "needs root: makes a network namespace"))
struct QdiscOracleTests {
  static func qdisc(
    _ kind: QdiscKind?, _ verb: RequestKind, parent: QdiscHandle = .root, handle: UInt32 = 0, index: Int32 = 3
  ) -> NetlinkMessage {
    QdiscMessage(index: index, parent: parent, handle: QdiscHandle(rawValue: handle << 16), kind: kind)
      .request(
        verb)
  }

  static func `class`(
    _ minor: UInt16, _ verb: RequestKind, parent: QdiscHandle = QdiscHandle(major: 1),
    rate: UInt64 = 1_000_000,
    ceiling: UInt64 = 2_000_000, priority: UInt32 = 0
  ) -> NetlinkMessage {
    var options = HTBClassOptions(rate: rate, ceiling: ceiling, burst: 1600, ceilingBurst: 3000)
    options.priority = priority
    return ClassMessage(
      index: 3, parent: parent, handle: QdiscHandle(major: 1, minor: minor), kind: .htb(options)
    ).request(verb)
  }

  static func at(_ major: UInt16, _ minor: UInt16) -> QdiscHandle {
    QdiscHandle(major: major, minor: minor)
  }

  /// a0 is 3.
  static let requests: [(String, NetlinkMessage)] = {
    let tbf = QdiscKind.tbf(TBFOptions(rate: 125_000, burst: 16_000, limit: 50_000))
    let peaked = QdiscKind.tbf(
      TBFOptions(rate: 125_000, burst: 16_000, limit: 50_000, peakRate: 250_000, peakBurst: 2000))
    let lowPeak = QdiscKind.tbf(
      TBFOptions(rate: 125_000, burst: 16_000, limit: 50_000, peakRate: 100_000, peakBurst: 2000))
    let fast = QdiscKind.tbf(TBFOptions(rate: 12_500_000_000, burst: 1_000_000, limit: 5_000_000))
    let htb = QdiscKind.htb(HTBOptions(defaultClass: 0x20))
    return [
      ("removal of the default", qdisc(nil, .delete)),
      ("a fifo", qdisc(.pfifo(limit: nil), .create)),
      ("the fifo again", qdisc(.pfifo(limit: nil), .create)),
      ("another kind, exclusively", qdisc(.bfifo(limit: nil), .create)),
      ("with a handle over it", qdisc(.bfifo(limit: 9000), .create, handle: 5)),
      ("with a handle in its place", qdisc(.bfifo(limit: 9000), .createOrReplace, handle: 5)),
      ("the same handle with another kind", qdisc(.pfifo(limit: 10), .createOrReplace, handle: 5)),
      ("the same handle and kind", qdisc(.bfifo(limit: 700), .createOrReplace, handle: 5)),
      ("a change", qdisc(.bfifo(limit: 800), .change)),
      ("a change by its handle", qdisc(.bfifo(limit: 900), .change, parent: .unspecified, handle: 5)),
      ("a change of no handle", qdisc(.bfifo(limit: 900), .change, parent: .unspecified)),
      ("a change of another handle", qdisc(.bfifo(limit: 900), .change, parent: .unspecified, handle: 6)),
      ("a change into another kind", qdisc(.pfifo(limit: 12), .change)),
      ("a kind nobody has", qdisc(.other("nonsense", []), .createOrReplace)),
      ("inside one without classes", qdisc(.pfifo(limit: 3), .create, parent: at(0x8000, 1))),
      ("inside none", qdisc(.pfifo(limit: 3), .create, parent: at(9, 1))),
      ("three bands", qdisc(.pfifoFast(priorityMap: []), .createOrReplace, handle: 2)),
      ("three bands changed", qdisc(.pfifoFast(priorityMap: []), .change)),
      ("inside three bands", qdisc(.pfifo(limit: 3), .create, parent: at(2, 1))),
      ("a class of three bands", `class`(1, .create, parent: at(2, 0))),
      ("noqueue", qdisc(.other("noqueue", []), .createOrReplace)),
      ("removal of noqueue", qdisc(nil, .delete)),
      ("a change of nothing", qdisc(.pfifo(limit: 3), .change)),
      ("on no link", qdisc(.pfifo(limit: 3), .create, index: 77)),
      ("a minor number", QdiscMessage(index: 3, handle: at(1, 3), kind: .pfifo(limit: 1)).request(.create)),
      ("a shaper", qdisc(tbf, .createOrReplace, handle: 1)),
      ("a shaper with a peak", qdisc(peaked, .change)),
      ("a peak below its rate", qdisc(lowPeak, .change)),
      ("a shaper without a bucket", qdisc(.tbf(TBFOptions(rate: 1000, burst: 0, limit: 9)), .change)),
      ("a very fast shaper", qdisc(fast, .change)),
      ("a fifo inside", qdisc(.pfifo(limit: 5), .create, parent: at(1, 1), handle: 4)),
      ("another inside", qdisc(.pfifo(limit: 5), .create, parent: at(1, 1), handle: 6)),
      ("a new limit for both", qdisc(tbf, .change)),
      ("removal by a wrong handle", qdisc(nil, .delete, handle: 7)),
      ("removal by a wrong kind", qdisc(htb, .delete)),
      ("removal of what is inside", qdisc(nil, .delete, parent: at(1, 1))),
      ("removal in none", qdisc(nil, .delete, parent: at(8, 1))),
      ("removal of the shaper", qdisc(nil, .delete)),
      ("a tree", qdisc(htb, .create, handle: 1)),
      ("a changed tree", qdisc(htb, .change)),
      ("a class", `class`(1, .create)),
      ("the class again", `class`(1, .create)),
      ("the class changed", `class`(1, .change, rate: 3_000_000, ceiling: 4_000_000)),
      ("a class below", `class`(0x10, .create, parent: at(1, 1))),
      (
        "another below",
        `class`(0x20, .create, parent: at(1, 1), rate: 1000, ceiling: 5_000_000_000, priority: 9)
      ),
      ("a class below a leaf", `class`(0x21, .create, parent: at(1, 0x20))),
      ("a class below none", `class`(0x30, .create, parent: at(1, 0x99))),
      ("a class without a rate", `class`(0x31, .create, rate: 0)),
      ("a class of another qdisc", `class`(0x32, .create, parent: at(3, 0))),
      ("a change of a class that is not there", `class`(0x33, .change)),
      ("a queue in a leaf", qdisc(.pfifo(limit: 8), .create, parent: at(1, 0x10), handle: 0x10)),
      ("a queue in a class with classes", qdisc(.pfifo(limit: 8), .create, parent: at(1, 1))),
      ("a queue in no class", qdisc(.pfifo(limit: 8), .create, parent: at(1, 0x77))),
      ("a shaper in a leaf", qdisc(tbf, .createOrReplace, parent: at(1, 0x10), handle: 0x11)),
      ("removal of a class with classes", `class`(1, .delete)),
      ("removal of a class", `class`(0x21, .delete)),
      ("removal of a class that is not there", `class`(0x21, .delete)),
      ("removal of a leaf's queue", qdisc(nil, .delete, parent: at(1, 0x10))),
      ("removal of the tree", qdisc(nil, .delete)),
    ]
  }()

  /// Handles that the kernel chooses count for the whole host.
  private static func text(_ handle: QdiscHandle) -> String {
    handle.major >= 0x8000 && handle != .root ? "own" : "\(handle.rawValue >> 16):\(handle.minor)"
  }

  private static func qdiscs(_ messages: [NetlinkMessage]) throws -> [String] {
    try messages.map { try QdiscMessage($0) }.filter { $0.index == 3 }.map {
      "\(text($0.handle)) in \(text($0.parent)) \($0.info) \($0.kind.map { "\($0)" } ?? "-")"
    }.sorted()
  }

  private static func classes(_ messages: [NetlinkMessage]) throws -> [String] {
    try messages.map { try ClassMessage($0) }.map {
      "\(text($0.handle)) in \(text($0.parent)) \($0.info) \($0.kind.map { "\($0)" } ?? "-")"
    }.sorted()
  }

  @Test("Each request has the kernel's error and words, and the same qdiscs and classes stand after it")
  func requests() throws { try Self.compare(Self.requests) }

  /// Says the same to both and compares what they answer and have.
  static func compare(_ requests: [(String, NetlinkMessage)]) throws {
    let thread = try NamespaceThread()
    let (namespace, socket) = try thread.perform { (visitor) throws(NetlinkError) in
      (try visitor.create(label: "devs-qdiscs"), try visitor.socket())
    }
    defer { withExtendedLifetime(namespace) {} }
    var kernel = Kernel()
    let node = try kernel.makeNamespace()
    var link = LinkMessage(index: 3, name: "a0")
    link.transmitQueues = 1
    link.set(.up, true)
    link.kind = .veth(peer: LinkMessage(index: 2, name: "b0"))
    _ = try socket.request(link.request(.create))
    try kernel.perform(link.request(.create), in: node)
    for (name, request) in requests {
      var expected = ""
      do {
        _ = try socket.request(request)
      } catch {
        expected = "\(error.errno?.rawValue ?? -1) \(error.text ?? "")"
      }
      // A kernel without a kind says so, and has it as a module elsewhere.
      if expected.contains("qdisc kind is unknown"), !name.contains("nobody") { continue }
      var got = ""
      do { try kernel.perform(request, in: node) } catch { got = "\(error.errno) \(error.message ?? "")" }
      #expect(got == expected, "\(name)")
      let ours = try Self.qdiscs(kernel.dump(QdiscMessage.dump(index: 3), in: node))
      let theirs = try Self.qdiscs(socket.dump(QdiscMessage.dump(index: 3)))
      #expect(ours == theirs, "qdiscs after \(name)")
      let ourClasses = try Self.classes(kernel.dump(ClassMessage.dump(index: 3), in: node))
      let theirClasses = try Self.classes(socket.dump(ClassMessage.dump(index: 3)))
      #expect(ourClasses == theirClasses, "classes after \(name)")
    }
  }
}
