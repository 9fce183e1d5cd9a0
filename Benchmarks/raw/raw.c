/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The floor for `up`: the least that a program over libmnl must do for N nodes on one bridge, each a named network
 * namespace with a veth to the switch namespace, an address and a default route. No plan, no marks, no checks.
 *
 *   raw up N      raw down N
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static void fail(const char *what) {
  fprintf(stderr, "raw: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int home;

static int make_namespace(const char *name) {
  char path[64];
  snprintf(path, sizeof path, "/run/netns/%s", name);
  int file = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0);
  if (file < 0) fail(path);
  close(file);
  if (unshare(CLONE_NEWNET)) fail("unshare");
  if (mount("/proc/thread-self/ns/net", path, "none", MS_BIND, NULL)) fail("bind");
  file = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  if (file < 0) fail("open");
  return file;
}

static struct mnl_socket *enter(int ns) {
  if (setns(ns, CLONE_NEWNET)) fail("setns");
  struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
  if (!socket || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID)) fail("socket");
  return socket;
}

/* Several messages in one send; only the last asks for an answer, and errors of the others come before it. */
struct batch {
  char bytes[16384];
  size_t used;
  struct nlmsghdr *last;
  unsigned sequence;
};

static struct nlmsghdr *begin(struct batch *b, int type, int flags) {
  b->last = mnl_nlmsg_put_header(b->bytes + b->used);
  b->last->nlmsg_type = type;
  b->last->nlmsg_flags = NLM_F_REQUEST | flags;
  b->last->nlmsg_seq = ++b->sequence;
  return b->last;
}

static void end(struct batch *b) { b->used += NLMSG_ALIGN(b->last->nlmsg_len); }

static void flush(struct batch *b, struct mnl_socket *socket) {
  char answer[16384];
  b->last->nlmsg_flags |= NLM_F_ACK;
  if (mnl_socket_sendto(socket, b->bytes, b->used) < 0) fail("send");
  for (int more = 1; more;) {
    ssize_t count = mnl_socket_recvfrom(socket, answer, sizeof answer);
    if (count < 0) fail("receive");
    int rest = count;
    for (struct nlmsghdr *h = (void *)answer; mnl_nlmsg_ok(h, rest); h = mnl_nlmsg_next(h, &rest)) {
      struct nlmsgerr *error = mnl_nlmsg_get_payload(h);
      if (error->error) {
        errno = -error->error;
        fail("kernel");
      }
      if (h->nlmsg_seq == b->last->nlmsg_seq) more = 0;
    }
  }
  b->used = 0;
}

static void link_header(struct nlmsghdr *h, unsigned index, int up) {
  struct ifinfomsg *info = mnl_nlmsg_put_extra_header(h, sizeof *info);
  info->ifi_index = index;
  info->ifi_flags = info->ifi_change = up ? IFF_UP : 0;
}

static void veth(struct batch *b, unsigned i, int peer_ns) {
  char name[16];
  struct nlmsghdr *h = begin(b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  link_header(h, 10 + i, 1);
  snprintf(name, sizeof name, "p%u", i);
  mnl_attr_put_strz(h, IFLA_IFNAME, name);
  mnl_attr_put_u32(h, IFLA_MASTER, 2);
  mnl_attr_put_u32(h, IFLA_NUM_TX_QUEUES, 1);
  mnl_attr_put_u32(h, IFLA_NUM_RX_QUEUES, 1);
  struct nlattr *info = mnl_attr_nest_start(h, IFLA_LINKINFO);
  mnl_attr_put_strz(h, IFLA_INFO_KIND, "veth");
  struct nlattr *data = mnl_attr_nest_start(h, IFLA_INFO_DATA);
  struct nlattr *peer = mnl_attr_nest_start(h, VETH_INFO_PEER);
  struct ifinfomsg *m = mnl_nlmsg_put_extra_header(h, sizeof *m);
  m->ifi_index = 2;
  mnl_attr_put_strz(h, IFLA_IFNAME, "eth0");
  mnl_attr_put_u32(h, IFLA_NET_NS_FD, peer_ns);
  mnl_attr_put_u32(h, IFLA_NUM_TX_QUEUES, 1);
  mnl_attr_put_u32(h, IFLA_NUM_RX_QUEUES, 1);
  mnl_attr_nest_end(h, peer);
  mnl_attr_nest_end(h, data);
  mnl_attr_nest_end(h, info);
  end(b);
}

static void configure(struct batch *b, unsigned i) {
  unsigned address = htonl(0x0a000002u + i), gateway = htonl(0x0a000001u);
  struct nlmsghdr *h = begin(b, RTM_NEWLINK, 0);
  link_header(h, 1, 1);
  end(b);
  h = begin(b, RTM_NEWLINK, 0);
  link_header(h, 2, 1);
  end(b);
  h = begin(b, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
  struct ifaddrmsg *a = mnl_nlmsg_put_extra_header(h, sizeof *a);
  *a = (struct ifaddrmsg){.ifa_family = AF_INET, .ifa_prefixlen = 16, .ifa_index = 2};
  mnl_attr_put(h, IFA_LOCAL, 4, &address);
  mnl_attr_put(h, IFA_ADDRESS, 4, &address);
  end(b);
  h = begin(b, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
  struct rtmsg *r = mnl_nlmsg_put_extra_header(h, sizeof *r);
  *r = (struct rtmsg){.rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_STATIC,
                      .rtm_scope = RT_SCOPE_UNIVERSE, .rtm_type = RTN_UNICAST};
  mnl_attr_put(h, RTA_GATEWAY, 4, &gateway);
  mnl_attr_put_u32(h, RTA_OIF, 2);
  end(b);
}

static void no_ipv6(void) {
  int file = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY | O_CLOEXEC);
  if (file >= 0) {
    if (write(file, "1", 1) != 1) fail("disable_ipv6");
    close(file);
  }
}

static void up(unsigned count) {
  int *nodes = calloc(count, sizeof *nodes);
  struct batch *b = calloc(1, sizeof *b);
  char name[32];
  mkdir("/run/netns", 0755);
  int fabric = make_namespace("raw--sw");
  no_ipv6();
  for (unsigned i = 0; i < count; i++) {
    snprintf(name, sizeof name, "raw-%u", i);
    nodes[i] = make_namespace(name);
    no_ipv6();
  }
  struct mnl_socket *socket = enter(fabric);
  struct nlmsghdr *h = begin(b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  link_header(h, 2, 1);
  mnl_attr_put_strz(h, IFLA_IFNAME, "lan");
  struct nlattr *info = mnl_attr_nest_start(h, IFLA_LINKINFO);
  mnl_attr_put_strz(h, IFLA_INFO_KIND, "bridge");
  mnl_attr_nest_end(h, info);
  end(b);
  for (unsigned i = 0; i < count; i++) {
    veth(b, i, nodes[i]);
    if (b->used > 12000) flush(b, socket);
  }
  if (b->used) flush(b, socket);
  mnl_socket_close(socket);
  for (unsigned i = 0; i < count; i++) {
    socket = enter(nodes[i]);
    configure(b, i);
    flush(b, socket);
    mnl_socket_close(socket);
  }
  if (setns(home, CLONE_NEWNET)) fail("setns");
}

static void down(unsigned count) {
  char path[64];
  for (unsigned i = 0; i <= count; i++) {
    if (i < count) snprintf(path, sizeof path, "/run/netns/raw-%u", i);
    else snprintf(path, sizeof path, "/run/netns/raw--sw");
    if (umount2(path, MNT_DETACH) || unlink(path)) fail(path);
  }
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: raw up|down N\n");
    return 64;
  }
  home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  if (strcmp(argv[1], "up") == 0) up(atoi(argv[2]));
  else down(atoi(argv[2]));
  return 0;
}
