/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Network namespaces: what Swift cannot call. Each function returns 0 or more, or a negative errno.

   Those that change the namespace change it for the calling thread alone, so call them on a thread of your own. */
#ifndef NF_NAMESPACE_H
#define NF_NAMESPACE_H

#include <stddef.h>
#include <stdint.h>

/* Puts the calling thread into a new network namespace. */
int nf_namespace_new(void);

/* Puts the calling thread into the network namespace behind a descriptor. */
int nf_namespace_enter(int fd);

/* Opens the calling thread's network namespace. */
int nf_namespace_open_own(void);

/* Opens a path and makes sure that a network namespace is there (EINVAL when it is something else). */
int nf_namespace_open(const char *path);

/* Makes a directory for named namespaces ready, as iproute2 does: it exists and is a shared mount, so that names
   made in one mount namespace are seen in all. */
int nf_namespace_prepare_directory(const char *directory);

/* Gives the calling thread's network namespace a name: a new file at path with the namespace mounted over it.
   EEXIST when the file is there. */
int nf_namespace_bind(const char *path);

/* Takes a name away: unmounts and removes the file. The namespace lives as long as something is in it. */
int nf_namespace_unbind(const char *path);

/* Who a namespace is: the numbers of its nsfs file. */
int nf_namespace_identity(int fd, uint64_t *device, uint64_t *inode);

/* Reads one datagram of a netlink socket and the id of the namespace that it is from; *has_nsid is 0 for the
   socket's own. -EMSGSIZE when the buffer was too small. */
long nf_netlink_receive(int fd, void *buffer, size_t size, int *has_nsid, int *nsid);

#endif
