/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nf_tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int fail(int fd) {
  int error = errno;
  close(fd);
  return -error;
}

int nf_tun_open(const char *name, int flags, int64_t owner, int64_t group, int persist, uint32_t index) {
  if (strlen(name) >= IFNAMSIZ) return -ENAMETOOLONG;
  int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return -errno;
  if (index > 0 && ioctl(fd, TUNSETIFINDEX, &index) != 0) return fail(fd);
  struct ifreq request;
  memset(&request, 0, sizeof request);
  strcpy(request.ifr_name, name);
  request.ifr_flags = (short)flags;
  if (ioctl(fd, TUNSETIFF, &request) != 0) return fail(fd);
  if (owner >= 0 && ioctl(fd, TUNSETOWNER, (unsigned long)owner) != 0) return fail(fd);
  if (group >= 0 && ioctl(fd, TUNSETGROUP, (unsigned long)group) != 0) return fail(fd);
  if (persist >= 0 && ioctl(fd, TUNSETPERSIST, (unsigned long)persist) != 0) return fail(fd);
  return fd;
}
