/* SPDX-License-Identifier: GPL-2.0-or-later */
/* packetdrill reads tcp_info for a script's assertions, does sendfile, and closes what a script has left open by the C
   library and not by the table that it is given. With this library preloaded the three calls are looked at here: those
   about descriptors of ours go to the emulated kernel, all others to the host's. Programs that packetdrill starts are not
   preloaded. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "nf_packetdrill.h"

static int first = -1;
static struct nf_packetdrill_table own;

__attribute__((constructor)) static void loaded(void) { unsetenv("LD_PRELOAD"); }

void nf_packetdrill_interpose(int first_descriptor, struct nf_packetdrill_table calls) {
  own = calls;
  first = first_descriptor;
}

int getsockopt(int descriptor, int level, int name, void *restrict value, socklen_t *restrict length) {
  if (first >= 0 && descriptor >= first) return own.getsockopt(own.context, descriptor, level, name, value, length);
  return (int)syscall(SYS_getsockopt, descriptor, level, name, value, length);
}

ssize_t sendfile(int out, int in, off_t *offset, size_t count) {
  if (first < 0 || out < first) return syscall(SYS_sendfile, out, in, offset, count);
  char bytes[65536];
  ssize_t length = pread(in, bytes, count < sizeof bytes ? count : sizeof bytes, offset ? *offset : 0);
  ssize_t sent = length > 0 ? own.write(own.context, out, bytes, (size_t)length) : length;
  if (sent > 0 && offset) *offset += sent;
  return sent;
}

int close(int descriptor) {
  if (first >= 0 && descriptor >= first) return own.close(own.context, descriptor);
  return (int)syscall(SYS_close, descriptor);
}
