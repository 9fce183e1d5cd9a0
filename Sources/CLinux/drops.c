/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nf_drops.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/perf_event.h>

/* Pages of samples behind the ring's own page. */
enum { PAGES = 16 };

int nf_drops_begin(uint64_t tracepoint, struct nf_drops *drops) {
  struct perf_event_attr what;
  memset(&what, 0, sizeof what);
  what.size = sizeof what;
  what.type = PERF_TYPE_TRACEPOINT;
  what.config = tracepoint;
  what.sample_period = 1;
  what.sample_type = PERF_SAMPLE_RAW;
  what.wakeup_events = 1;
  drops->descriptor = (int)syscall(SYS_perf_event_open, &what, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
  if (drops->descriptor < 0) return errno;
  drops->size = (size_t)sysconf(_SC_PAGESIZE) * (PAGES + 1);
  drops->ring = mmap(NULL, drops->size, PROT_READ | PROT_WRITE, MAP_SHARED, drops->descriptor, 0);
  if (drops->ring == MAP_FAILED) {
    int error = errno;
    close(drops->descriptor);
    return error;
  }
  return 0;
}

/* Copies from the ring, whose end is followed by its beginning. */
static void copy(void *to, const uint8_t *ring, uint64_t room, uint64_t place, size_t count) {
  for (size_t index = 0; index < count; index++) ((uint8_t *)to)[index] = ring[(place + index) % room];
}

size_t nf_drops_next(struct nf_drops *drops, uint8_t *bytes, size_t size) {
  struct perf_event_mmap_page *page = drops->ring;
  const uint8_t *ring = (const uint8_t *)drops->ring + page->data_offset;
  uint64_t head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE), tail = page->data_tail;
  size_t length = 0;
  while (tail < head && length == 0) {
    struct perf_event_header header;
    copy(&header, ring, page->data_size, tail, sizeof header);
    if (header.size < sizeof header) break;
    uint32_t raw = 0;
    if (header.type == PERF_RECORD_SAMPLE && header.size >= sizeof header + sizeof raw) {
      copy(&raw, ring, page->data_size, tail + sizeof header, sizeof raw);
      if (raw > header.size - sizeof header - sizeof raw) raw = 0;
      length = raw < size ? raw : size;
      copy(bytes, ring, page->data_size, tail + sizeof header + sizeof raw, length);
    }
    tail += header.size;
  }
  __atomic_store_n(&page->data_tail, tail, __ATOMIC_RELEASE);
  return length;
}

void nf_drops_end(struct nf_drops *drops) {
  munmap(drops->ring, drops->size);
  close(drops->descriptor);
}
