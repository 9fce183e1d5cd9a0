// SPDX-License-Identifier: GPL-2.0-or-later

// What the helper looks for in a message: methods, headers by their long and short names (ct_sip_hdrs, RFC 3261
// section 7.3.3), and lines of a session's description (ct_sdp_hdrs, RFC 4566).

/// A method that the helper reads (sip_handlers).
enum SIPMethod: CaseIterable {
  case invite, update, acknowledge, provisional, bye, register

  var word: [UInt8] {
    switch self {
    case .invite: Array("INVITE".utf8)
    case .update: Array("UPDATE".utf8)
    case .acknowledge: Array("ACK".utf8)
    case .provisional: Array("PRACK".utf8)
    case .bye: Array("BYE".utf8)
    case .register: Array("REGISTER".utf8)
    }
  }

  /// Whether anything is read of its answers.
  var isAnswered: Bool { self != .acknowledge && self != .bye }
}

/// A header that the helper looks for (struct sip_header).
struct SIPHeader {
  enum Form {
    case number, address, uri
  }

  let name: [UInt8]
  /// Its short name, in small letters.
  let compact: UInt8?
  /// Behind which word its value stands.
  let search: [UInt8]
  let form: Form

  private init(_ name: String, _ compact: Character? = nil, _ search: String = "", _ form: Form) {
    self.name = Array(name.utf8)
    self.compact = compact?.asciiValue
    self.search = Array(search.utf8)
    self.form = form
  }

  static let sequence = SIPHeader("CSeq", nil, "", .number)
  static let from = SIPHeader("From", "f", "sip:", .uri)
  static let to = SIPHeader("To", "t", "sip:", .uri)
  static let contact = SIPHeader("Contact", "m", "sip:", .uri)
  static let viaUDP = SIPHeader("Via", "v", "UDP ", .address)
  static let viaTCP = SIPHeader("Via", "v", "TCP ", .address)
  static let expires = SIPHeader("Expires", nil, "", .number)
  static let contentLength = SIPHeader("Content-Length", "l", "", .number)
}

/// A line of a session's description (enum sdp_header_types).
enum SDPLine {
  case version, owner, connection, media

  var name: [UInt8] {
    switch self {
    case .version: [0x76, 0x3d]
    case .owner: [0x6f, 0x3d]
    case .connection: [0x63, 0x3d]
    case .media: [0x6d, 0x3d]
    }
  }
}
