/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Why the kernel drops packets while the calling thread is at work: the tracepoint skb:kfree_skb, by perf_event_open. What a
   thread sends over veth is received in its own time, so a packet's whole way over several namespaces is seen. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct nf_drops {
  int descriptor;
  void *ring;
  size_t size;
};

/* Begins for the calling thread; `tracepoint` is its number below tracefs. 0 or an errno. */
int nf_drops_begin(uint64_t tracepoint, struct nf_drops *drops);
/* Copies the next sample's raw bytes; how many there are, 0 when there is none. What was overwritten is skipped. */
size_t nf_drops_next(struct nf_drops *drops, uint8_t *bytes, size_t size);
void nf_drops_end(struct nf_drops *drops);
