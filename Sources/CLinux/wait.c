/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "nf_wait.h"

#include <sys/prctl.h>
#include <time.h>

void nf_wait(struct pollfd *entries, int count, int64_t nanoseconds) {
  struct timespec time = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
  /* Whatever ends the wait, a signal too, the caller looks again. */
  ppoll(entries, (nfds_t)count, nanoseconds < 0 ? NULL : &time, NULL);
}

void nf_wake_precisely(void) { prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL); }
