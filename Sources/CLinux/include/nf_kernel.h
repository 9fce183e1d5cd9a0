/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel's own headers, so that constants are imported and never retyped. */
#ifndef NF_KERNEL_H
#define NF_KERNEL_H

/* First, so that the kernel's headers leave out what the C library defines as well. */
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <linux/fib_rules.h>
#include <linux/gen_stats.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_bridge.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/inet_diag.h>
#include <linux/neighbour.h>
#include <linux/net_namespace.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/veth.h>

/* What the headers of the oldest supported distribution (Linux 5.15) do not have yet. The numbers are the
   kernel's: an attribute, once released, never changes its number. */
enum {
  NF_IFA_PROTO = 11,               /* 5.18 */
  NF_IFLA_BR_FDB_N_LEARNED = 48,   /* 6.7 */
  NF_IFLA_BR_FDB_MAX_LEARNED = 49, /* 6.7 */
  NF_NDA_FLAGS_EXT = 15,           /* 5.16 */
  NF_NLMSGERR_ATTR_MISS_TYPE = 5,  /* 6.1 */
  NF_NLMSGERR_ATTR_MISS_NEST = 6,  /* 6.1 */
  NF_TCA_NETEM_PRNG_SEED = 14,     /* 6.6 */
};

#endif
