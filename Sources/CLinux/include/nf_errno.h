/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NF_ERRNO_H
#define NF_ERRNO_H

/* The name of an error number, "EEXIST"; NULL for no error number. */
const char *nf_errno_name(int number);

#endif
