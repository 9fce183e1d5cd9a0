// SPDX-License-Identifier: GPL-2.0-or-later

// What is said over the control socket, as JSON; what sockets carry goes beside it as it is. A request has a number; its
// answers carry the same number. The first message of each side says which protocol and version it speaks.

import FoundationEssentials
import LabCore
import NetTypes

/// The first message of each side.
struct ControlGreeting: Codable, Equatable, Sendable {
  static let name = "netforge-lab"
  /// Raised with every change that the other side could not follow.
  static let version = 5

  var netforgeProtocol: String
  var version: Int
  /// Who speaks, for messages.
  var pid: Int32
  /// The server's: whose lab it is.
  var lab: LabName?

  init(pid: Int32, lab: LabName?) {
    netforgeProtocol = Self.name
    version = Self.version
    self.pid = pid
    self.lab = lab
  }

  /// Why one cannot talk to who sent this, or nil.
  var complaint: String? {
    guard netforgeProtocol == Self.name else { return "it does not speak netforge's control protocol" }
    guard version == Self.version else {
      return
        "it speaks version \(version) of the control protocol, this netforge speaks version \(Self.version)"
    }
    return nil
  }
}

/// What a client asks for.
enum ControlRequest: Codable, Sendable {
  case limitations(LabState, LabRuntime)
  case observe(LabName, Scope)
  case apply(Plan.Batch, LabName)
  case remove(LabName)
  /// Answered by events until it is cancelled.
  case changes(LabName)
  /// With three descriptors.
  case spawn(Command, NodeName, LabName)
  case signal(process: UInt64, Int32)
  case wait(process: UInt64)
  case endpoint(EndpointRequest, NodeName, LabName)
  case localEndpoint(UInt64)
  case accept(UInt64, Interval)
  /// What is to be sent is the message's payload.
  case send(UInt64, SocketEndpoint?)
  case receive(UInt64, limit: Int, Interval)
  case finish(UInt64)
  case close(UInt64)
  case inspect(Inspection, NamespaceID, LabName)
  /// Answered by events until it is cancelled.
  case connectionEvents(NamespaceID, LabName)
  /// With one descriptor; until it is cancelled.
  case capture(CaptureRequest, LabName)
  case trace(TraceRequest, LabName)
  /// With the rendered topology as payload and one descriptor, the lab's lock. Events, then `up`.
  case up(UpOrder)
  case configure(LabRuntime)
  case restart(NodeName)
  case status
  /// Answered with descriptors of the namespaces.
  case entry(NodeName)
  case shutdown
  /// Ends the request of that number.
  case cancel(UInt64)
}

/// What the lab process answers.
enum ControlReply: Codable, Sendable {
  case done
  case limitations([Limitation])
  case observation(Observation)
  case event(ChangeEvent)
  case process(UInt64, pid: Int32)
  case exit(ProcessExit)
  case endpoint(UInt64)
  case accepted(UInt64, SocketEndpoint)
  case local(SocketEndpoint)
  /// What was received is the message's payload.
  case datagram(SocketEndpoint, hopLimit: UInt8?, error: ICMPError?)
  case inspected(InspectionAnswer)
  case traced(TraceReport)
  case connectionEvent(ConnectionEvent)
  case upEvent(UpEvent)
  /// The plan's document, when it is wanted, is the message's payload.
  case up(UpOutcome)
  case status(LabProcessStatus)
  case view(NodeView)
  case failure(DatapathError)
}

/// A message with its number.
struct ControlEnvelope<Body: Codable & Sendable>: Codable, Sendable {
  var id: UInt64
  var body: Body
}

/// Messages to bytes and back.
enum ControlCoding {
  static func encode(_ value: some Encodable) throws(DatapathError) -> [UInt8] {
    do {
      return Array(try JSONEncoder().encode(value))
    } catch {
      throw DatapathError(
        .bug, operation: "encode a control message", cause: "\(error)", remedy: "please report it")
    }
  }

  static func decode<T: Decodable>(_ type: T.Type, from bytes: [UInt8]) throws(DatapathError) -> T {
    do {
      return try JSONDecoder().decode(type, from: Data(bytes))
    } catch {
      throw DatapathError(.malformed, operation: "read a control message", cause: summary(of: error))
    }
  }

  private static func summary(of error: any Error) -> String {
    switch error as? DecodingError {
    case .dataCorrupted(let context), .keyNotFound(_, let context), .typeMismatch(_, let context),
      .valueNotFound(_, let context):
      context.debugDescription
    default: "\(error)"
    }
  }
}
