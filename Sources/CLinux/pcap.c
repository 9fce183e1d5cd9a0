/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nf_pcap.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* The part of libpcap's interface that has been the same since its first release. */
struct program {
  unsigned int length;
  struct nf_filter_instruction *instructions;
};

struct library {
  void *(*open_dead)(int link_type, int snap_length);
  int (*compile)(void *capture, struct program *program, const char *expression, int optimize, unsigned int netmask);
  char *(*error)(void *capture);
  void (*free_program)(struct program *program);
  void (*close)(void *capture);
};

static int load(struct library *pcap) {
  /* Debian's name, and everybody else's. */
  static const char *const names[] = {"libpcap.so.0.8", "libpcap.so.1", "libpcap.so"};
  void *handle = NULL;
  for (size_t i = 0; !handle && i < sizeof names / sizeof *names; i++) handle = dlopen(names[i], RTLD_NOW);
  if (!handle) return 0;
  *(void **)&pcap->open_dead = dlsym(handle, "pcap_open_dead");
  *(void **)&pcap->compile = dlsym(handle, "pcap_compile");
  *(void **)&pcap->error = dlsym(handle, "pcap_geterr");
  *(void **)&pcap->free_program = dlsym(handle, "pcap_freecode");
  *(void **)&pcap->close = dlsym(handle, "pcap_close");
  return pcap->open_dead && pcap->compile && pcap->error && pcap->free_program && pcap->close;
}

int nf_pcap_compile(const char *expression, int link_type, int snap_length, struct nf_filter_instruction *program,
                    int limit, char *error, size_t error_size) {
  struct library pcap;
  if (!load(&pcap)) return -ENOSYS;
  void *capture = pcap.open_dead(link_type, snap_length);
  if (!capture) return -ENOMEM;
  struct program compiled;
  int result;
  if (pcap.compile(capture, &compiled, expression, 1, 0xffffffff) < 0) {
    snprintf(error, error_size, "%s", pcap.error(capture));
    result = -EINVAL;
  } else {
    result = compiled.length > (unsigned int)limit ? -E2BIG : (int)compiled.length;
    if (result > 0) memcpy(program, compiled.instructions, compiled.length * sizeof *program);
    pcap.free_program(&compiled);
  }
  pcap.close(capture);
  return result;
}
