// SPDX-License-Identifier: GPL-2.0-or-later

// Messages of SIP for tests: calls and registrations as telephones make them, and what is wrong with some.

/// A message of SIP (RFC 3261).
struct SIPText {
  var first: String
  var headers: [String] = []
  var body: [String] = []

  /// As it is sent; with the length of its body unless it has another.
  var text: String {
    let body = body.map { $0 + "\r\n" }.joined()
    let length =
      headers.contains { $0.hasPrefix("Content-Length") || $0.hasPrefix("l:") }
      ? [] : ["Content-Length: \(body.utf8.count)"]
    return ([first] + headers + length + ["", body]).joined(separator: "\r\n")
  }

  /// A request, or an answer to one, from `own`, an address and a port, to `other`; a Via in it is of who has asked.
  static func message(
    _ first: String, from own: String, to other: String, via: String? = nil, contact: String? = nil,
    transport: String = "UDP", _ sequence: String, extra: [String] = [], body: [String] = []
  ) -> SIPText {
    SIPText(
      first: first,
      headers: [
        "Via: SIP/2.0/\(transport) \(via ?? own);branch=z9hG4bK7", "Max-Forwards: 70",
        "From: \"A\" <sip:a@\(via == nil ? own : other)>;tag=1", "To: <sip:b@\(via == nil ? other : own)>",
        "Call-ID: 77@\(own)", "CSeq: \(sequence)", "Contact: \(contact ?? "<sip:a@\(own)>")",
      ] + extra, body: body)
  }

  /// A session with streams at an address.
  static func session(
    _ address: String, _ media: [String], version: String = "IP4", streamAddress: String? = nil
  ) -> [String] {
    ["v=0", "o=a 1 1 IN \(version) \(address)", "s=-", "c=IN \(version) \(address)", "t=0 0"]
      + media.flatMap { line in
        ["m=\(line) RTP/AVP 0", "a=sendrecv"] + (streamAddress.map { ["c=IN \(version) \($0)"] } ?? [])
      }
  }
}
