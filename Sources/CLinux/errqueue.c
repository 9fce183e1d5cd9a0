/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nf_errqueue.h"

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <string.h>

int nf_take_icmp_error(int socket, uint8_t *type, uint8_t *code, struct sockaddr_storage *offender) {
  char bytes[64], control[512];
  struct iovec part = {.iov_base = bytes, .iov_len = sizeof bytes};
  for (;;) {
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    if (recvmsg(socket, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return 0;
    for (struct cmsghdr *entry = CMSG_FIRSTHDR(&message); entry; entry = CMSG_NXTHDR(&message, entry)) {
      int is_error = (entry->cmsg_level == IPPROTO_IP && entry->cmsg_type == IP_RECVERR) ||
                     (entry->cmsg_level == IPPROTO_IPV6 && entry->cmsg_type == IPV6_RECVERR);
      size_t length = entry->cmsg_len - CMSG_LEN(0);
      struct sock_extended_err error;
      if (!is_error || length < sizeof error) continue;
      memcpy(&error, CMSG_DATA(entry), sizeof error);
      if (error.ee_origin != SO_EE_ORIGIN_ICMP && error.ee_origin != SO_EE_ORIGIN_ICMP6) continue;
      *type = error.ee_type;
      *code = error.ee_code;
      memset(offender, 0, sizeof *offender);
      length -= sizeof error;
      memcpy(offender, CMSG_DATA(entry) + sizeof error, length < sizeof *offender ? length : sizeof *offender);
      return 1;
    }
  }
}
