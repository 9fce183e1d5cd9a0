// SPDX-License-Identifier: GPL-2.0-or-later
//
// What lwIP makes of the same as `netstack-bench tcp`: two stacks in one thread, a wire of Ethernet frames between them,
// MTU 1500. lwIP keeps one stack a process in global state, so the library is loaded a second time from a copy of its file.
// Prints one line a figure: name and number.
//
//   cc -O2 lwip.c -ldl -o lwip && ./lwip          (needs liblwip-dev)

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <lwip/etharp.h>
#include <lwip/init.h>
#include <lwip/netif.h>
#include <lwip/sys.h>
#include <lwip/tcp.h>
#include <lwip/timeouts.h>
#include <netif/ethernet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <time.h>
#include <unistd.h>

// Every function that is used, of each copy of the library.
#define FUNCTIONS(X) \
  X(lwip_init) X(netif_add) X(netif_set_up) X(netif_set_link_up) X(netif_set_default) X(ethernet_input) X(etharp_output) \
  X(pbuf_alloc) X(pbuf_free) X(tcp_new) X(tcp_bind) X(tcp_listen_with_backlog) X(tcp_accept) X(tcp_connect) \
  X(tcp_recv) X(tcp_sent) X(tcp_arg) X(tcp_recved) X(tcp_write) X(tcp_output) X(tcp_close) X(tcp_err) X(sys_check_timeouts)

struct stack {
#define FIELD(f) __typeof__(f) *f;
  FUNCTIONS(FIELD)
  struct netif netif;
  struct stack *peer;
  struct pbuf *queue[4096];
  unsigned head, tail;
};

static struct stack stacks[2];

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

// The wire: the frame becomes a buffer of the other stack's, in its queue.
static err_t transmit(struct netif *netif, struct pbuf *frame) {
  struct stack *to = ((struct stack *)netif->state)->peer;
  if (to->tail - to->head == 4096) return ERR_BUF;
  // Of one piece: Debian's library has a pool whose buffers are smaller than it says.
  struct pbuf *copy = to->pbuf_alloc(PBUF_RAW, frame->tot_len, PBUF_RAM);
  if (!copy) return ERR_MEM;
  char *target = copy->payload;
  for (struct pbuf *part = frame; part; part = part->next) {
    memcpy(target, part->payload, part->len);
    target += part->len;
  }
  to->queue[to->tail++ & 4095] = copy;
  return ERR_OK;
}

static err_t begin(struct netif *netif) {
  struct stack *own = netif->state;
  netif->name[0] = 'n';
  netif->name[1] = 'f';
  netif->mtu = 1500;
  netif->hwaddr_len = 6;
  memset(netif->hwaddr, 0, 6);
  netif->hwaddr[0] = 2;
  netif->hwaddr[5] = own == stacks ? 1 : 2;
  netif->output = own->etharp_output;
  netif->linkoutput = transmit;
  netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET;
  return ERR_OK;
}

static void *open_library(const char *name) {
  void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!library) { fprintf(stderr, "%s\n", dlerror()); exit(1); }
  return library;
}

static void *open_copy(void *library) {
  struct link_map *map;
  char name[] = "/tmp/netforge-lwip.XXXXXX";
  int from, to;
  if (dlinfo(library, RTLD_DI_LINKMAP, &map) || (from = open(map->l_name, O_RDONLY)) < 0 || (to = mkstemp(name)) < 0) exit(1);
  while (sendfile(to, from, NULL, 1 << 20) > 0) {}
  void *copy = open_library(name);
  unlink(name);
  return copy;
}

static void load(struct stack *own, struct stack *peer, void *library, unsigned last) {
#define FIND(f) if (!(own->f = (__typeof__(own->f))dlsym(library, #f))) { fprintf(stderr, "liblwip has no %s\n", #f); exit(1); }
  FUNCTIONS(FIND)
  own->peer = peer;
  own->lwip_init();
  ip4_addr_t address, mask, gateway;
  IP4_ADDR(&address, 10, 0, 0, last);
  IP4_ADDR(&mask, 255, 255, 255, 0);
  IP4_ADDR(&gateway, 0, 0, 0, 0);
  own->netif_add(&own->netif, &address, &mask, &gateway, own, begin, own->ethernet_input);
  own->netif_set_default(&own->netif);
}

// Delivers what is on the wire; timers now and then, as a main loop does.
static void turn(void) {
  static unsigned count;
  for (int i = 0; i < 2; i++) {
    struct stack *own = &stacks[i];
    while (own->head != own->tail) {
      struct pbuf *frame = own->queue[own->head++ & 4095];
      if (own->netif.input(frame, &own->netif) != ERR_OK) own->pbuf_free(frame);
    }
  }
  if (!(count++ & 63)) { stacks[0].sys_check_timeouts(); stacks[1].sys_check_timeouts(); }
}

static size_t received, answered;
static int opened, closed;
static char block[16384];

static err_t sink(void *arg, struct tcp_pcb *pcb, struct pbuf *data, err_t error) {
  struct stack *own = &stacks[1];
  if (!data) { own->tcp_close(pcb); closed++; return ERR_OK; }
  received += data->tot_len;
  own->tcp_recved(pcb, data->tot_len);
  if (arg) { own->tcp_write(pcb, block, data->tot_len, TCP_WRITE_FLAG_COPY); own->tcp_output(pcb); }
  own->pbuf_free(data);
  return ERR_OK;
}

static err_t answer(void *arg, struct tcp_pcb *pcb, struct pbuf *data, err_t error) {
  if (!data) return ERR_OK;
  answered += data->tot_len;
  stacks[0].tcp_recved(pcb, data->tot_len);
  stacks[0].pbuf_free(data);
  return ERR_OK;
}

static err_t take(void *arg, struct tcp_pcb *pcb, err_t error) {
  stacks[1].tcp_arg(pcb, arg);
  stacks[1].tcp_recv(pcb, sink);
  return ERR_OK;
}

static err_t connected(void *arg, struct tcp_pcb *pcb, err_t error) { opened++; return ERR_OK; }

static void serve(u16_t port, void *echoes) {
  struct tcp_pcb *pcb = stacks[1].tcp_new();
  ip_addr_t any = IPADDR4_INIT(0);
  stacks[1].tcp_bind(pcb, &any, port);
  pcb = stacks[1].tcp_listen_with_backlog(pcb, 255);
  stacks[1].tcp_arg(pcb, echoes);
  stacks[1].tcp_accept(pcb, take);
}

static struct tcp_pcb *open_to(u16_t port) {
  struct tcp_pcb *pcb = stacks[0].tcp_new();
  ip_addr_t address = IPADDR4_INIT_BYTES(10, 0, 0, 2);
  int before = opened;
  stacks[0].tcp_recv(pcb, answer);
  if (stacks[0].tcp_connect(pcb, &address, port, connected) != ERR_OK) return NULL;
  for (double limit = now() + 5; opened == before;) {
    turn();
    if (now() > limit) { fprintf(stderr, "no connection\n"); exit(1); }
  }
  return pcb;
}

int main(void) {
  void *library = open_library("liblwip.so.0");
  load(&stacks[0], &stacks[1], library, 1);
  load(&stacks[1], &stacks[0], open_copy(library), 2);
  // Whoever comes up announces itself: the other has to be there.
  for (int i = 0; i < 2; i++) {
    stacks[i].netif_set_link_up(&stacks[i].netif);
    stacks[i].netif_set_up(&stacks[i].netif);
  }
  serve(1, NULL);
  serve(2, block);

  struct tcp_pcb *pcb = open_to(1);
  double start = now();
  size_t total = (size_t)1 << 30;
  while (received < total && now() < start + 20) {
    u16_t room = tcp_sndbuf(pcb);
    while (room && stacks[0].tcp_write(pcb, block, room < sizeof block ? room : sizeof block, TCP_WRITE_FLAG_COPY) == ERR_OK)
      room = tcp_sndbuf(pcb);
    stacks[0].tcp_output(pcb);
    turn();
  }
  printf("gigabits %.2f\n", received * 8 / (now() - start) / 1e9);
  stacks[0].tcp_close(pcb);

  pcb = open_to(2);
  start = now();
  int rounds = 200000, done = 0;
  answered = 0;
  while (done < rounds && now() < start + 20) {
    size_t wanted = answered + 1;
    stacks[0].tcp_write(pcb, block, 1, TCP_WRITE_FLAG_COPY);
    stacks[0].tcp_output(pcb);
    while (answered < wanted && now() < start + 20) turn();
    done++;
  }
  printf("rounds %.0f\n", done / (now() - start));

  start = now();
  rounds = 5000;
  for (done = 0; done < rounds && now() < start + 20; done++) {
    struct tcp_pcb *one = open_to(1);
    if (!one) break;
    int before = closed;
    stacks[0].tcp_close(one);
    while (closed == before) turn();
  }
  printf("connections %.0f\n", done / (now() - start));
  return 0;
}
