/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "nf_namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* The thread's own, where /proc/self would be the process's first thread. */
static const char own_namespace[] = "/proc/thread-self/ns/net";

int nf_namespace_new(void) { return unshare(CLONE_NEWNET) == 0 ? 0 : -errno; }

int nf_namespace_enter(int fd) { return setns(fd, CLONE_NEWNET) == 0 ? 0 : -errno; }

static int open_network_namespace(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  int type = ioctl(fd, NS_GET_NSTYPE);
  if (type == CLONE_NEWNET) return fd;
  close(fd);
  return -EINVAL;
}

int nf_namespace_open_own(void) { return open_network_namespace(own_namespace); }

int nf_namespace_open(const char *path) { return open_network_namespace(path); }

int nf_namespace_prepare_directory(const char *directory) {
  if (mkdir(directory, 0755) != 0 && errno != EEXIST) return -errno;
  if (mount("", directory, "none", MS_SHARED | MS_REC, NULL) == 0) return 0;
  /* EINVAL: no mount point yet. */
  if (errno != EINVAL) return -errno;
  if (mount(directory, directory, "none", MS_BIND | MS_REC, NULL) != 0) return -errno;
  return mount("", directory, "none", MS_SHARED | MS_REC, NULL) == 0 ? 0 : -errno;
}

int nf_namespace_bind(const char *path) {
  int fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0);
  if (fd < 0) return -errno;
  close(fd);
  if (mount(own_namespace, path, "none", MS_BIND, NULL) == 0) return 0;
  int error = errno;
  unlink(path);
  return -error;
}

int nf_namespace_unbind(const char *path) {
  /* EINVAL: a file that no namespace is mounted over, left behind by a crash; it only has to go. */
  if (umount2(path, MNT_DETACH) != 0 && errno != EINVAL) return -errno;
  return unlink(path) == 0 ? 0 : -errno;
}

int nf_namespace_identity(int fd, uint64_t *device, uint64_t *inode) {
  struct stat status;
  if (fstat(fd, &status) != 0) return -errno;
  *device = status.st_dev;
  *inode = status.st_ino;
  return 0;
}

long nf_netlink_receive(int fd, void *buffer, size_t size, int *has_nsid, int *nsid) {
  struct iovec part = {.iov_base = buffer, .iov_len = size};
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(64)];
  } control;
  struct sockaddr_nl sender;
  struct msghdr message = {
      .msg_name = &sender,
      .msg_namelen = sizeof sender,
      .msg_iov = &part,
      .msg_iovlen = 1,
      .msg_control = &control,
      .msg_controllen = sizeof control,
  };
  *has_nsid = 0;
  ssize_t count;
  do {
    count = recvmsg(fd, &message, 0);
  } while (count < 0 && errno == EINTR);
  if (count < 0) return -errno;
  if (message.msg_flags & MSG_TRUNC) return -EMSGSIZE;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level == SOL_NETLINK && c->cmsg_type == NETLINK_LISTEN_ALL_NSID &&
        c->cmsg_len >= CMSG_LEN(sizeof(int))) {
      memcpy(nsid, CMSG_DATA(c), sizeof(int));
      *has_nsid = 1;
    }
  }
  return count;
}
