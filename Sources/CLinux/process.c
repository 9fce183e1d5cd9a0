/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See nf_process.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "nf_process.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

/* MARK: packets */

union descriptor_control {
  struct cmsghdr header;
  char bytes[CMSG_SPACE(NF_PACKET_DESCRIPTORS * sizeof(int))];
};

int nf_packet_send(int socket, const void *bytes, size_t size, const int *descriptors, size_t count) {
  if (count > NF_PACKET_DESCRIPTORS) return -EINVAL;
  union descriptor_control control;
  memset(&control, 0, sizeof control);
  struct iovec part = {(void *)bytes, size};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (count > 0) {
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(header), descriptors, count * sizeof(int));
  }
  for (;;) {
    if (sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return 0;
    if (errno != EINTR) return -errno;
  }
}

long nf_packet_receive(int socket, void *bytes, size_t size, int *descriptors, size_t *count) {
  union descriptor_control control;
  struct iovec part = {bytes, size};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
  *count = 0;
  ssize_t got;
  do got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  /* That the other side closed before it had read all is said once, before what it sent. */
  while (got < 0 && (errno == EINTR || errno == ECONNRESET));
  if (got < 0) return -errno;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header != NULL; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    size_t present = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < present; i++) {
      int file;
      memcpy(&file, CMSG_DATA(header) + i * sizeof(int), sizeof file);
      if (*count < NF_PACKET_DESCRIPTORS)
        descriptors[(*count)++] = file;
      else
        close(file);
    }
  }
  if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
    for (size_t i = 0; i < *count; i++) close(descriptors[i]);
    *count = 0;
    return -EMSGSIZE;
  }
  return (long)got;
}

/* MARK: the control socket */

/* Through /proc, because a socket's address holds 107 bytes and a path may have more. */
static int control_address(int folder, const char *name, struct sockaddr_un *address) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  int length = snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", folder, name);
  return length < (int)sizeof address->sun_path ? 0 : -ENAMETOOLONG;
}

int nf_control_listen(int folder, const char *name) {
  struct sockaddr_un address;
  int error = control_address(folder, name, &address);
  if (error < 0) return error;
  int file = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (file < 0) return -errno;
  if (unlinkat(folder, name, 0) < 0 && errno != ENOENT) goto failed;
  /* The mode that the name will have; the umask is every thread's. */
  if (fchmod(file, 0600) < 0 || bind(file, (struct sockaddr *)&address, sizeof address) < 0) goto failed;
  if (listen(file, 64) < 0) goto failed;
  return file;
failed:
  error = errno;
  close(file);
  return -error;
}

int nf_control_connect(int folder, const char *name) {
  struct sockaddr_un address;
  int error = control_address(folder, name, &address);
  if (error < 0) return error;
  int file = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (file < 0) return -errno;
  if (connect(file, (struct sockaddr *)&address, sizeof address) < 0) {
    error = errno;
    close(file);
    return -error;
  }
  return file;
}

int nf_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC) < 0 ? -errno : 0; }

int nf_peer(int socket, pid_t *pid, uid_t *uid) {
  struct ucred credentials;
  socklen_t size = sizeof credentials;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0) return -errno;
  *pid = credentials.pid;
  *uid = credentials.uid;
  return 0;
}

/* MARK: services */

int nf_bind_any(int socket, int domain, uint16_t port) {
  int one = 1;
  int type = 0;
  socklen_t size = sizeof type;
  if (getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &size) < 0) return -errno;
  /* A listener that is started anew must not wait for old connections; a datagram socket would share its port. */
  if (type == SOCK_STREAM && setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0) return -errno;
  if (domain == AF_INET6) {
    if (setsockopt(socket, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) < 0) return -errno;
    if (type == SOCK_DGRAM && setsockopt(socket, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof one) < 0) return -errno;
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    if (bind(socket, (struct sockaddr *)&address, sizeof address) < 0) return -errno;
  } else {
    if (type == SOCK_DGRAM && setsockopt(socket, IPPROTO_IP, IP_PKTINFO, &one, sizeof one) < 0) return -errno;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (bind(socket, (struct sockaddr *)&address, sizeof address) < 0) return -errno;
  }
  if (type == SOCK_STREAM && listen(socket, 512) < 0) return -errno;
  return 0;
}

int nf_listen_loopback(int domain, uint16_t port) {
  int file = socket(domain, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (file < 0) return -errno;
  int on = 1;
  setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_loopback};
  int failed = domain == AF_INET ? bind(file, (struct sockaddr *)&four, sizeof four)
                                 : bind(file, (struct sockaddr *)&six, sizeof six);
  if (failed || listen(file, 128)) {
    int number = errno;
    close(file);
    return -number;
  }
  return file;
}

int nf_accept(int socket) {
  int file = accept4(socket, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  return file < 0 ? -errno : file;
}

int nf_answer_datagrams(int socket, enum nf_answer answer, const void *fixed, size_t length) {
  char bytes[65536];
  union {
    struct cmsghdr header;
    char bytes[256];
  } control;
  int count = 0;
  while (count < 64) {
    struct sockaddr_storage peer;
    struct iovec part = {bytes, sizeof bytes};
    struct msghdr message = {.msg_name = &peer,
                             .msg_namelen = sizeof peer,
                             .msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    ssize_t got = recvmsg(socket, &message, MSG_DONTWAIT);
    if (got < 0) {
      if (errno == EINTR) continue;
      /* An ICMP error of an earlier answer is reported once and is nobody's business here. */
      if (errno == EAGAIN || errno == EBADF) break;
      count++;
      continue;
    }
    count++;
    if (answer == NF_ANSWER_NONE) continue;
    part.iov_len = (size_t)got;
    if (answer == NF_ANSWER_FIXED) part = (struct iovec){(void *)fixed, length};
    /* What was received says to which address and on which device; sent back, it names the source. */
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header != NULL; header = CMSG_NXTHDR(&message, header)) {
      if (header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_PKTINFO) {
        struct in_pktinfo information;
        memcpy(&information, CMSG_DATA(header), sizeof information);
        information.ipi_ifindex = 0;
        if (IN_MULTICAST(ntohl(information.ipi_addr.s_addr))) information.ipi_spec_dst.s_addr = INADDR_ANY;
        memcpy(CMSG_DATA(header), &information, sizeof information);
      } else if (header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_PKTINFO) {
        struct in6_pktinfo information;
        memcpy(&information, CMSG_DATA(header), sizeof information);
        if (IN6_IS_ADDR_MULTICAST(&information.ipi6_addr)) information.ipi6_addr = in6addr_any;
        if (!IN6_IS_ADDR_LINKLOCAL(&information.ipi6_addr)) information.ipi6_ifindex = 0;
        memcpy(CMSG_DATA(header), &information, sizeof information);
      }
    }
    message.msg_flags = 0;
    while (sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EINTR) {
    }
  }
  return count;
}

/* MARK: the process */

int nf_pidfd_open(pid_t pid) {
  long file = syscall(SYS_pidfd_open, pid, 0u);
  return file < 0 ? -errno : (int)file;
}

static int signal_pipe = -1;

static void note_signal(int number) {
  int error = errno;
  unsigned char byte = (unsigned char)number;
  if (write(signal_pipe, &byte, 1) < 0) errno = error;
  errno = error;
}

int nf_signal_descriptor(void) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) return -errno;
  signal_pipe = ends[1];
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = note_signal;
  action.sa_flags = SA_RESTART;
  static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
    if (sigaction(signals[i], &action, NULL) < 0) return -errno;
  action.sa_handler = SIG_IGN;
  if (sigaction(SIGPIPE, &action, NULL) < 0) return -errno;
  return ends[0];
}

/* The soft limit before it was first raised. */
static _Atomic rlim_t given_descriptors = RLIM_INFINITY;

void nf_reserve_descriptors(void) {
  enum { table = 4096 };
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
  if (limit.rlim_cur < limit.rlim_max) {
    rlim_t unknown = RLIM_INFINITY;
    atomic_compare_exchange_strong(&given_descriptors, &unknown, limit.rlim_cur);
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0) return;
  }
  int any = open("/", O_PATH | O_CLOEXEC);
  if (any < 0) return;
  int high = fcntl(any, F_DUPFD_CLOEXEC, limit.rlim_cur < table ? (int)limit.rlim_cur - 1 : table - 1);
  if (high >= 0) close(high);
  close(any);
}

void nf_restore_descriptor_limit(void) {
  struct rlimit limit;
  rlim_t given = atomic_load(&given_descriptors);
  if (given == RLIM_INFINITY || getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_max < given) return;
  limit.rlim_cur = given;
  setrlimit(RLIMIT_NOFILE, &limit);
}

void nf_heap_grow_by(int bytes) {
  mallopt(M_TOP_PAD, bytes);
  mallopt(M_TRIM_THRESHOLD, 2 * bytes);
}
