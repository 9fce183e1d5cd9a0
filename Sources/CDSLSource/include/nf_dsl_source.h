/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NF_DSL_SOURCE_H
#define NF_DSL_SOURCE_H

#include <stddef.h>

/* One source file of the module Netforge, as it was when this binary was built. */
struct nf_dsl_file {
  const char *name;
  const unsigned char *bytes;
  size_t count;
};

extern const struct nf_dsl_file nf_dsl_files[];
extern const size_t nf_dsl_file_count;

/* The file at an index below the count; an array without a length is nothing that Swift can see. */
static inline struct nf_dsl_file nf_dsl_file_at(size_t index) { return nf_dsl_files[index]; }

#endif
