/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Listening in on a device (packet(7)). */
#ifndef NF_PACKET_H
#define NF_PACKET_H

#include <stddef.h>
#include <stdint.h>

/* A close-on-exec, non-blocking packet socket on a device of the calling thread's network namespace that sees all frames
   of both directions. A negative errno when there is none to be had. */
int nf_packet_listen(int interface);

struct nf_packet {
  /* Since 1970. */
  int64_t nanoseconds;
  /* How long it was; more than `size` when it was cut. */
  uint32_t length;
  /* Bytes of it that were stored. */
  uint32_t stored;
  /* It left by the device. */
  uint8_t outgoing;
};

/* Takes the next frame with its VLAN tag in it. 1; 0 when there is none, or a negative errno. */
int nf_packet_take(int socket, uint8_t *bytes, size_t size, struct nf_packet *packet);

/* Frames that the socket has been offered and has dropped since this was last asked. */
int nf_packet_statistics(int socket, uint32_t *packets, uint32_t *drops);

#endif
