/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tun and tap devices, which are made by ioctl and not by netlink. */
#ifndef NF_TUN_H
#define NF_TUN_H

#include <stdint.h>

/* Opens a tun or tap device of the calling thread's network namespace, making it when it is not there.
   flags: IFF_TUN or IFF_TAP with IFF_NO_PI, IFF_MULTI_QUEUE, IFF_VNET_HDR. owner and group: -1 for anyone who may.
   persist: 1 the device outlives the descriptor, 0 it does not, -1 leave it as it is.
   index: the number that a device is made with, 0 for the next that is free.
   Returns a descriptor or a negative errno. */
int nf_tun_open(const char *name, int flags, int64_t owner, int64_t group, int persist, uint32_t index);

#endif
