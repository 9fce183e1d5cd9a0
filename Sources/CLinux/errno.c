/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "nf_errno.h"

#include <string.h>

const char *nf_errno_name(int number) { return strerrorname_np(number); }
