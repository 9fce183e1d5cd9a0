// SPDX-License-Identifier: GPL-2.0-or-later

// Which of a node's addresses is meant when only the node is named, and what a connection's answer says.

import LabCore
import NetTypes
import Testing

@testable import Reconcile

@Suite("Addresses of nodes")
struct NodeAddressTests {
  private func space(
    _ name: String, _ addresses: [(String, String)], routes: [(String, String)] = []
  ) throws -> NamespaceState {
    try NamespaceState(
      id: .node(#require(NodeName(name))),
      addresses: addresses.map { link, prefix in
        AddressState(link: try #require(InterfaceName(link)), prefix: try #require(IPPrefix(prefix)))
      },
      routes: routes.map { destination, gateway in
        let gateway: IPAddress = try #require(IPAddress(gateway))
        return RouteState(
          destination: try #require(IPPrefix(destination)), nextHops: [RouteState.NextHop(gateway: gateway)])
      })
  }

  /// a - r1 - r2 - b, and a second way into r2 that nobody takes.
  private func chain() throws -> NodeAddresses {
    let lab = try #require(LabName("chain"))
    return NodeAddresses(
      LabState(
        lab: lab,
        namespaces: [
          try space("a", [("eth0", "10.1.0.2/24")], routes: [("0.0.0.0/0", "10.1.0.1")]),
          try space(
            "r1", [("eth0", "10.1.0.1/24"), ("eth1", "10.2.0.1/24")], routes: [("10.3.0.0/24", "10.2.0.2")]),
          try space(
            "r2",
            [
              ("lo", "10.9.9.9/32"), ("spare", "10.8.0.1/24"), ("eth1", "10.3.0.1/24"),
              ("eth0", "10.2.0.2/24"),
            ]),
          try space("b", [("eth0", "10.3.0.2/24")], routes: [("0.0.0.0/0", "10.3.0.1")]),
          try space("alone", [("eth0", "10.7.0.2/24")]),
        ]))
  }

  private func address(_ target: String, from source: String) throws -> String? {
    try chain().address(of: #require(NodeName(target)), from: #require(NodeName(source)))?.description
  }

  @Test("the nearest one by the routes, not the first one declared")
  func nearest() throws {
    #expect(try address("r2", from: "a") == "10.2.0.2")
    #expect(try address("r2", from: "b") == "10.3.0.1")
    #expect(try address("b", from: "a") == "10.3.0.2")
  }

  @Test("the first that is no loopback's where no way leads to any")
  func unreachable() throws {
    #expect(try address("r2", from: "alone") == "10.2.0.2")
  }

  @Test("An answer is whole when its length says so, and an echo when it is the question")
  func exchanges() throws {
    let question = HTTPExchange.request(path: "/", host: "10.0.0.1:80", token: "t")
    #expect(HTTPExchange.isComplete(question, echoing: question))
    let answer = HTTPExchange.answer(of: question)
    for end in answer.indices { #expect(!HTTPExchange.isComplete(Array(answer[..<end]), echoing: [1])) }
    #expect(HTTPExchange.isComplete(answer, echoing: [1]))
    #expect(HTTPExchange.parse(answer)?.status == 200)
    #expect(HTTPExchange.parse(Array("HTTP/1.1 abc\r\n\r\n".utf8)) == nil)
    #expect(HTTPExchange.parse(Array("SSH-2.0-x\r\n\r\n".utf8)) == nil)
    #expect(HTTPExchange.name(in: "web1 in lab shop\n") == "web1")
    #expect(HTTPExchange.name(in: "<html>") == nil)
    // What a stranger says must not trap.
    for bytes in [[], [72], Array("HTTP/1.1 200\r\nContent-Length: -5\r\n\r\n".utf8), Array("HTTP/1.".utf8)] {
      _ = HTTPExchange.isComplete(bytes, echoing: question)
      _ = HTTPExchange.parse(bytes)
    }
  }
}
