/* SPDX-License-Identifier: GPL-2.0-or-later */
/* proc(5): what Swift cannot call. */
#ifndef NF_PROC_H
#define NF_PROC_H

/* Makes a proc file system of its own, mounted nowhere, and gives a descriptor of its root; it goes with the last
   descriptor. A negative errno: EPERM without CAP_SYS_ADMIN over the namespace of processes. */
int nf_proc_new(void);

#endif
