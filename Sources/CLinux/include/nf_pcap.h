/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libpcap's compiler of filter expressions, when the host has it: it is loaded when it is first needed. */
#ifndef NF_PCAP_H
#define NF_PCAP_H

#include <stddef.h>
#include <stdint.h>

/* One instruction of the classic packet filter, as <linux/filter.h> has it. */
struct nf_filter_instruction {
  uint16_t code;
  uint8_t jump_true;
  uint8_t jump_false;
  uint32_t k;
};

/* Compiles an expression for packets of a link type. The number of instructions; -ENOSYS when there is no libpcap,
   -EINVAL when it does not take the expression, with its words in `error`, -E2BIG when there are more than `limit`. */
int nf_pcap_compile(const char *expression, int link_type, int snap_length, struct nf_filter_instruction *program,
                    int limit, char *error, size_t error_size);

#endif
