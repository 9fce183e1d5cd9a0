// SPDX-License-Identifier: GPL-2.0-or-later

// What the topology's methods give back, for later lines to refer to.

/// A node or router. `node["eth0"]` is one of its interfaces.
public struct Node: Sendable {
  /// Its name in the lab.
  public let name: String

  /// One of the node's interfaces, by the name that its body gives it.
  public subscript(_ interface: String) -> InterfaceReference {
    InterfaceReference(node: name, interface: interface)
  }
}

/// An interface of a node: `gw["wan0"]`.
public struct InterfaceReference: Sendable {
  /// The node's name.
  public let node: String
  /// The interface's name in the node.
  public let interface: String

  var record: Record {
    var record = Record()
    record.add("node", node)
    record.add("interface", interface)
    return record
  }
}

/// What an interface can be put on: a lab's bridge, or its internet.
public protocol Segment: Sendable {
  /// Its name in the lab.
  var name: String { get }
}

/// The lab's routed uplink.
public struct Internet: Segment {
  /// Its name in the lab.
  public let name: String
}

/// What `lab.internet` goes through.
public enum InternetWay: String, Sendable {
  /// The host that the lab runs on.
  case host
}

/// A cable between two interfaces.
public struct Link: Sendable {
  let a: InterfaceReference
  let b: InterfaceReference

  /// Makes the cable worse, in both directions alike.
  /// - Parameters:
  ///   - rate: bits a second, `.mbps(100)`.
  ///   - delay: how long a packet takes.
  ///   - jitter: by how much the delay varies.
  ///   - loss: the share of packets that are lost, `.percent(0.5)`.
  ///   - duplicate: the share that arrives twice.
  ///   - reorder: the share that overtakes others; needs a delay.
  ///   - corrupt: the share that arrives with a wrong bit.
  ///   - limit: packets that may wait.
  ///   - seed: of the random choices.
  @discardableResult
  public func impaired(
    rate: Rate? = nil, delay: Duration? = nil, jitter: Duration? = nil, loss: Percent? = nil,
    duplicate: Percent? = nil, reorder: Percent? = nil, corrupt: Percent? = nil, limit: Int? = nil,
    seed: UInt64? = nil, file: StaticString = #fileID, line: UInt = #line
  ) -> Link {
    let impairment = Impairment(
      rate: rate, delay: delay, jitter: jitter, loss: loss, duplicate: duplicate, reorder: reorder,
      corrupt: corrupt, limit: limit, seed: seed)
    return impaired(a: impairment, b: impairment, file: file, line: line)
  }

  /// Makes each direction of the cable worse in its own way.
  /// - Parameters:
  ///   - a: what befalls packets that the first interface sends.
  ///   - b: what befalls packets that the second interface sends.
  @discardableResult
  public func impaired(
    a impairmentOfA: Impairment? = nil, b impairmentOfB: Impairment? = nil, file: StaticString = #fileID,
    line: UInt = #line
  ) -> Link {
    for (end, impairment) in [(a, impairmentOfA), (b, impairmentOfB)] {
      guard let impairment else { continue }
      var record = Record("impairment")
      record.add("interface", end.record)
      record.add("impairment", impairment.record)
      record.add(file: file, line: line)
      Output.write(record)
    }
    return self
  }
}

/// Where a probe starts or ends: a node, an interface of one, or, for a target, an address as text.
public protocol Place: Sendable {
  /// What the declaration says of it.
  var place: PlaceRecord { get }
}

/// A place in a declaration.
public struct PlaceRecord: Sendable {
  let record: Record
}

extension Place {
  var placeRecord: Record { place.record }
}

extension Node: Place {
  /// The node itself.
  public var place: PlaceRecord {
    var record = Record()
    record.add("node", name)
    return PlaceRecord(record: record)
  }
}

extension InterfaceReference: Place {
  /// The interface of its node.
  public var place: PlaceRecord { PlaceRecord(record: record) }
}

extension String: Place {
  /// The text as an address.
  public var place: PlaceRecord {
    var record = Record()
    record.add("address", self)
    return PlaceRecord(record: record)
  }
}
