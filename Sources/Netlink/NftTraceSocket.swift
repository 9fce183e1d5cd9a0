// SPDX-License-Identifier: GPL-2.0-or-later

// What the kernel tells of packets that are traced through rules (NFNLGRP_NFTRACE, NFT_MSG_TRACE;
// net/netfilter/nf_tables_trace.c), in the namespace that the socket was opened in. Packets are traced where a rule says
// `meta nftrace set 1`.

import CLinux
import CMnl
import CNftnl
import Glibc
public import Nftables
import Rtnetlink

/// One step of a traced packet.
public struct NftTraceMessage: Hashable, Sendable {
  public enum Step: Hashable, Sendable {
    /// A rule was passed, or has decided.
    case rule(handle: UInt64, NftVerdict)
    /// A chain ended.
    case end
    /// No rule of a base chain decided.
    case policy(NftVerdict)
  }

  /// The same for all steps of one packet in a namespace.
  public var id: UInt32
  public var chain: NftChainKey
  public var step: Step
  /// The transport header as it was when its first chain began; empty where the message does not tell.
  public var transport: [UInt8]
}

/// Listens to traces.
public final class NftTraceSocket: @unchecked Sendable {
  private let socket: OpaquePointer
  private let descriptor: Int32

  /// Listens in the calling thread's namespace from now on.
  public init() throws(NetlinkError) {
    guard
      let socket = mnl_socket_open2(
        NETLINK_NETFILTER, Int32(SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue))
    else { throw .system("opening a socket for traces", -errno) }
    self.socket = socket
    descriptor = mnl_socket_get_fd(socket)
    guard mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) == 0 else {
      throw .system("binding a socket for traces", -errno)
    }
    SocketBuffer.enlarge(descriptor, send: nil, receive: 4 << 20)
    var group = Int32(bitPattern: NFNLGRP_NFTRACE.rawValue)
    guard
      mnl_socket_setsockopt(socket, NETLINK_ADD_MEMBERSHIP, &group, socklen_t(MemoryLayout<Int32>.size)) == 0
    else { throw .system("listening to traces", -errno) }
  }

  deinit { mnl_socket_close(socket) }

  /// What has come since this was last asked. What could not be kept is left out.
  public func take() -> [NftTraceMessage] {
    var found: [NftTraceMessage] = []
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 16)
    defer { buffer.deallocate() }
    while true {
      let count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
      if count < 0, errno == ENOBUFS { continue }
      guard count > 0 else { return found }
      let messages = try? NetlinkMessage.parse(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
      found += (messages ?? []).compactMap { NftTraceMessage($0) }
    }
  }
}

extension NftTraceMessage {
  /// Nil for other messages, and for steps of a kind that is new.
  fileprivate init?(_ message: NetlinkMessage) {
    guard message.type.rawValue == UInt16(NFNL_SUBSYS_NFTABLES) << 8 | UInt16(NFT_MSG_TRACE.rawValue) else {
      return nil
    }
    do throws(NetlinkDecodingError) {
      try self.init(decoding: message)
    } catch {
      return nil
    }
  }

  private init?(decoding message: NetlinkMessage) throws(NetlinkDecodingError) {
    // Behind struct nfgenmsg.
    guard let family = message.payload.first.flatMap({ NftFamily(number: $0) }) else { return nil }
    var (table, name) = ("", "")
    var (kind, handle) = (UInt32(0), UInt64(0))
    var verdict: NftVerdict?
    var policy: UInt32?
    id = 0
    transport = []
    var reader = AttributeReader(message.payload.dropFirst(4))
    while let attribute = try reader.next() {
      switch UInt32(attribute.type) {
      case NFTA_TRACE_ID.rawValue: id = try attribute.be32()
      case NFTA_TRACE_TABLE.rawValue: table = attribute.string()
      case NFTA_TRACE_CHAIN.rawValue: name = attribute.string()
      case NFTA_TRACE_RULE_HANDLE.rawValue: handle = try attribute.be64()
      case NFTA_TRACE_TYPE.rawValue: kind = try attribute.be32()
      case NFTA_TRACE_POLICY.rawValue: policy = try attribute.be32()
      case NFTA_TRACE_VERDICT.rawValue: verdict = try Self.verdict(attribute.content)
      case NFTA_TRACE_TRANSPORT_HEADER.rawValue: transport = Array(attribute.value)
      default: break
      }
    }
    chain = NftChainKey(table: NftTableKey(family: family, name: table), chain: name)
    switch kind {
    case NFT_TRACETYPE_RULE.rawValue, NFT_TRACETYPE_RETURN.rawValue:
      guard let verdict else { return nil }
      // The end of a chain is told as a return by no rule.
      step = handle == 0 ? .end : .rule(handle: handle, verdict)
    case NFT_TRACETYPE_POLICY.rawValue: step = .policy(policy == 0 ? .drop : .accept)
    default: return nil
    }
  }

  private static func verdict(_ content: AttributeReader) throws(NetlinkDecodingError) -> NftVerdict? {
    var reader = content
    var code: Int32 = -1
    var target: String?
    while let attribute = try reader.next() {
      switch UInt32(attribute.type) {
      case NFTA_VERDICT_CODE.rawValue: code = Int32(bitPattern: try attribute.be32())
      case NFTA_VERDICT_CHAIN.rawValue: target = attribute.string()
      default: break
      }
    }
    return NftVerdict(code: code, chain: target)
  }
}
