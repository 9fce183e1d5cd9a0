// SPDX-License-Identifier: GPL-2.0-or-later

// What stands at the target of a probe: a raw socket that sees what arrives, whoever holds the port, and a listener where
// nobody else listens.

import Glibc
import LabCore
import NetTypes

/// Whoever watches a probe's target.
final class Witness: Sendable {
  /// Carried by echo requests and datagrams of the probe.
  let token: String
  /// Nil where something else holds the port, or there is none.
  let listener: (any NodeEndpoint)?
  /// Nil where the datapath has no raw sockets of the family.
  private let arrivals: (any NodeEndpoint)?
  private let request: ProbeRequest

  private init(
    _ request: ProbeRequest, _ token: String, _ arrivals: (any NodeEndpoint)?, _ listener: (any NodeEndpoint)?
  ) {
    self.request = request
    self.token = token
    self.arrivals = arrivals
    self.listener = listener
  }

  static func open(
    for request: ProbeRequest, at target: NodeName, _ prober: Prober
  ) async throws(DatapathError) -> Witness {
    let family = request.address.family
    let number: UInt8
    var listening: EndpointRequest?
    let local = request.address
    switch request.kind {
    case .echo: number = family == .ipv4 ? 1 : 58
    case .datagram(let port):
      number = 17
      listening = .bindUDP(SocketEndpoint(local, port))
    case .connection(let port):
      number = 6
      listening = .listenTCP(SocketEndpoint(local, port))
    case .http:
      // Only a web server can answer; whether there is one is the question.
      number = 6
    }
    var arrivals: (any NodeEndpoint)?
    do throws(DatapathError) {
      arrivals = try await prober.datapath.endpoint(
        .arrivals(family, protocol: number), in: target, of: prober.lab)
    } catch {
      guard error.errno == EOPNOTSUPP else { throw error }
    }
    var listener: (any NodeEndpoint)?
    if let listening {
      do throws(DatapathError) {
        listener = try await prober.datapath.endpoint(listening, in: target, of: prober.lab)
      } catch {
        // Whoever holds the port is asked instead.
        guard error.errno == EADDRINUSE else {
          await arrivals?.close()
          throw error
        }
      }
    }
    return Witness(request, prober.token(), arrivals, listener)
  }

  /// Whether arrivals are seen.
  var isWatching: Bool { arrivals != nil }

  /// The source address of the probe's first packet that has arrived; nil when none has. What came before is forgotten.
  func arrival() async -> IPAddress? {
    // What has come stands in the socket's queue, which is bounded.
    while let packet = try? await arrivals?.receive(limit: 65_536, timeout: .zero) {
      if isOurs(packet.bytes) { return packet.source.address }
    }
    return nil
  }

  /// Whether a packet, from its transport header on, is the probe's.
  private func isOurs(_ bytes: [UInt8]) -> Bool {
    let word = Array(token.utf8)
    switch request.kind {
    case .echo:
      guard bytes.count >= 8 + word.count, bytes[0] == 8 || bytes[0] == 128 else { return false }
      return Array(bytes[8..<8 + word.count]) == word
    case .datagram:
      return bytes.count >= 8 + word.count && Array(bytes[8..<8 + word.count]) == word
    case .connection(let port), .http(let port, _):
      // A SYN without an ACK opens a connection; a NAT may have given it another port on the way.
      guard bytes.count >= 20, bytes[13] & 0x12 == 0x02 else { return false }
      return listener == nil || UInt16(bytes[2]) << 8 | UInt16(bytes[3]) == port
    }
  }

  func close() async {
    await arrivals?.close()
    await listener?.close()
  }
}
