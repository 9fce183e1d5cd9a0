// SPDX-License-Identifier: GPL-2.0-or-later

// A datagram that is written piece by piece (UDP_CORK, MSG_MORE; struct inet_cork): its way was found with the first piece,
// and all pieces go as one.

/// What has been written of a datagram, and where it is to go.
struct UDPCork {
  let route: SocketRoute
  let target: SocketAddress
  var bytes: [UInt8] = []
}
