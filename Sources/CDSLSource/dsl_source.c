/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nf_dsl_source.h"

#pragma clang diagnostic ignored "-Wc23-extensions"

static const unsigned char topology[] = {
#embed "../Netforge/Netforge.swift"
};

const struct nf_dsl_file nf_dsl_files[] = {
  {"Netforge.swift", topology, sizeof topology},
};
const size_t nf_dsl_file_count = sizeof nf_dsl_files / sizeof nf_dsl_files[0];
