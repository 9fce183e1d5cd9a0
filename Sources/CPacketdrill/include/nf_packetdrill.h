/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How packetdrill reaches a stack in a shared object (`--so_filename`): it has the table below filled in by
   `packetdrill_interface_init` and calls nothing else. Order and types are what the program expects; the first argument
   is always `context`. fcntl and ioctl are variadic there; a pointer-sized last argument arrives the same way on x86-64
   and AArch64. */
#ifndef NF_PACKETDRILL_H
#define NF_PACKETDRILL_H

#include <stdint.h>
#include <sys/types.h>

struct nf_packetdrill_table {
  void *context;
  void (*end)(void *);
  int (*socket)(void *, int, int, int);
  int (*bind)(void *, int, const void *, uint32_t);
  int (*listen)(void *, int, int);
  int (*accept)(void *, int, void *, uint32_t *);
  int (*connect)(void *, int, const void *, uint32_t);
  ssize_t (*read)(void *, int, void *, size_t);
  ssize_t (*readv)(void *, int, const void *, int);
  ssize_t (*recv)(void *, int, void *, size_t, int);
  ssize_t (*recvfrom)(void *, int, void *, size_t, int, void *, uint32_t *);
  ssize_t (*recvmsg)(void *, int, void *, int);
  ssize_t (*write)(void *, int, const void *, size_t);
  ssize_t (*writev)(void *, int, const void *, int);
  ssize_t (*send)(void *, int, const void *, size_t, int);
  ssize_t (*sendto)(void *, int, const void *, size_t, int, const void *, uint32_t);
  ssize_t (*sendmsg)(void *, int, const void *, int);
  int (*fcntl)(void *, int, int, intptr_t);
  int (*ioctl)(void *, int, unsigned long, intptr_t);
  int (*close)(void *, int);
  int (*shutdown)(void *, int, int);
  int (*getsockopt)(void *, int, int, int, void *, uint32_t *);
  int (*setsockopt)(void *, int, int, int, const void *, uint32_t);
  int (*poll)(void *, void *, unsigned long, int);
  /* The device's far side: a packet goes in; the next one comes out with the time at which it left. */
  int (*netdev_send)(void *, const void *, size_t);
  int (*netdev_receive)(void *, void *, size_t *, long long *);
  int (*usleep)(void *, uint32_t);
  int (*gettimeofday)(void *, void *, void *);
  int (*epoll_create)(void *, int);
  int (*epoll_ctl)(void *, int, int, int, void *);
  int (*epoll_wait)(void *, int, void *, int, int);
  int (*pipe)(void *, int *);
  int (*splice)(void *, int, int64_t *, int, int64_t *, size_t, unsigned);
};

/* Has what packetdrill asks of the C library beside the table answered by `calls` as well; see interpose.c. */
void nf_packetdrill_interpose(int first_descriptor, struct nf_packetdrill_table calls);

#endif
