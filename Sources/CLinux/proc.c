/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "nf_proc.h"

#include <errno.h>
#include <linux/mount.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

/* By number: glibc has these since 2.36 only. */
int nf_proc_new(void) {
  int context = (int)syscall(SYS_fsopen, "proc", FSOPEN_CLOEXEC);
  if (context < 0) return -errno;
  int result = -1;
  if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
    result = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0);
  if (result < 0) result = -errno;
  close(context);
  return result;
}
