/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nf_packet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <linux/if_ether.h>
#include <linux/if_packet.h>

enum { TAG = 4, ADDRESSES = 12 };

int nf_packet_listen(int interface) {
  /* Without a protocol it hears nothing until it is bound: nothing of other devices. */
  int socket_ = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (socket_ < 0) return -errno;
  int on = 1, room = 32 << 20;
  struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = interface};
  if (setsockopt(socket_, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) < 0 ||
      setsockopt(socket_, SOL_PACKET, PACKET_AUXDATA, &on, sizeof on) < 0 ||
      bind(socket_, (struct sockaddr *)&address, sizeof address) < 0) {
    int error = errno;
    close(socket_);
    return -error;
  }
  /* More room than the administrator's limit, where that is allowed. */
  if (setsockopt(socket_, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) < 0)
    setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  return socket_;
}

int nf_packet_take(int socket, uint8_t *bytes, size_t size, struct nf_packet *packet) {
  if (size < ADDRESSES + TAG) return -EINVAL;
  union {
    struct cmsghdr align;
    char room[256];
  } control;
  struct sockaddr_ll from;
  struct iovec part = {.iov_base = bytes + TAG, .iov_len = size - TAG};
  struct msghdr message = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &part, .msg_iovlen = 1,
                           .msg_control = control.room, .msg_controllen = sizeof control.room};
  ssize_t length = recvmsg(socket, &message, MSG_TRUNC | MSG_DONTWAIT);
  if (length < 0) return errno == EAGAIN || errno == EINTR ? 0 : -errno;
  struct tpacket_auxdata known;
  memset(&known, 0, sizeof known);
  packet->nanoseconds = 0;
  for (struct cmsghdr *entry = CMSG_FIRSTHDR(&message); entry; entry = CMSG_NXTHDR(&message, entry)) {
    if (entry->cmsg_level == SOL_SOCKET && entry->cmsg_type == SCM_TIMESTAMPNS) {
      struct timespec time;
      memcpy(&time, CMSG_DATA(entry), sizeof time);
      packet->nanoseconds = (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
    } else if (entry->cmsg_level == SOL_PACKET && entry->cmsg_type == PACKET_AUXDATA) {
      memcpy(&known, CMSG_DATA(entry), sizeof known);
    }
  }
  size_t stored = (size_t)length < size - TAG ? (size_t)length : size - TAG;
  if (known.tp_status & TP_STATUS_VLAN_VALID && stored >= ADDRESSES) {
    uint16_t protocol = known.tp_status & TP_STATUS_VLAN_TPID_VALID ? known.tp_vlan_tpid : ETH_P_8021Q;
    uint16_t tag[2] = {htons(protocol), htons(known.tp_vlan_tci)};
    memmove(bytes, bytes + TAG, ADDRESSES);
    memcpy(bytes + ADDRESSES, tag, TAG);
    stored += TAG;
    length += TAG;
  } else {
    memmove(bytes, bytes + TAG, stored);
  }
  packet->length = (uint32_t)length;
  packet->stored = (uint32_t)stored;
  packet->outgoing = from.sll_pkttype == PACKET_OUTGOING;
  return 1;
}

int nf_packet_statistics(int socket, uint32_t *packets, uint32_t *drops) {
  struct tpacket_stats statistics;
  socklen_t size = sizeof statistics;
  if (getsockopt(socket, SOL_PACKET, PACKET_STATISTICS, &statistics, &size) < 0) return -errno;
  *packets = statistics.tp_packets;
  *drops = statistics.tp_drops;
  return 0;
}
