/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Waiting with a nanosecond's resolution, for whoever keeps an emulated kernel's time. */
#ifndef NF_WAIT_H
#define NF_WAIT_H

#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>

/* Returns when one of the descriptors is ready, or after so many nanoseconds; a negative number waits for ever. */
void nf_wait(struct pollfd *entries, int count, int64_t nanoseconds);

/* Has the calling thread woken when its time has come, not up to 50 microseconds later. */
void nf_wake_precisely(void);

#endif
